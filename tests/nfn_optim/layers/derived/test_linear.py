"""NPLinear and HNPLinear: equivariant, sensitive, complete, minimal, equal to their definition."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import HNPLinear, NPLinear
from nfn_optim.testing import (
    assert_equivariant,
    assert_sensitive,
    chain_spec,
    chain_specs,
    random_features,
    residual_spec,
)

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CLASSES = [NPLinear, HNPLinear]
SPECS = {
    "one layer": chain_spec([3, 2]),
    "one layer, no bias": chain_spec([3, 2], biases=[False]),
    "two layers": chain_spec([3, 4, 2]),
    "three layers": chain_spec([2, 3, 4, 3]),
    "four layers": chain_spec([2, 3, 2, 4, 3]),
    "missing biases": chain_spec([2, 3, 4, 3], biases=[False, True, False]),
    "no biases": chain_spec([2, 3, 4], biases=[False, False]),
    "filters": chain_spec([2, 3, 2], kernels=[(2,), ()]),
    "filters in 2-D and 3-D": chain_spec([2, 3, 2], kernels=[(2, 1), (1, 2, 1)]),
    "residual": residual_spec(),
    "single inputs and outputs": chain_spec([1, 3, 1]),
    "a single hidden neuron": chain_spec([2, 1, 3], kernels=[(2,), ()]),
}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("cls", CLASSES)
@given(spec=chain_specs())
@few
def test_linear_commutes_with_permutations(cls, spec):
    generator = torch.Generator().manual_seed(0)
    layer = cls(spec, 2, 3).double()
    feats = random_features(spec, 2, generator, dtype=torch.float64)
    assert_equivariant(layer, layer.spec, feats, generator)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_linear_is_sensitive_to_lone_permutations(cls, spec, generator):
    layer = cls(spec, 2, 2).double()
    assert_sensitive(layer, layer.spec, random_features(spec, 2, generator, dtype=torch.float64))


def generators_of(spec: NetworkSpec):
    """A transposition and a cycle of each population: together they generate the whole group."""
    for label in spec.populations:
        n = spec.sizes[label]
        yield {label: torch.arange(n).roll(1)}
        if n > 1:
            yield {label: torch.tensor([1, 0, *range(2, n)])}


def action_matrix(spec: NetworkSpec, permutations) -> torch.Tensor:
    """Permutation matrix of a group element on the flattened weight space, from the axes alone."""
    index = torch.arange(spec.num_entries)
    pieces, start = [], 0
    for name in spec.names:
        shape = spec.shapes[name]
        size = torch.Size(shape).numel()
        block = index[start : start + size].view(shape)
        for axis, label in enumerate(spec.axes[name]):
            if label in permutations:
                block = block.index_select(axis, permutations[label])
        pieces.append(block.flatten())
        start += size
    return torch.eye(spec.num_entries, dtype=torch.float64)[torch.cat(pieces)]


def dimension_by_null_space(spec: NetworkSpec) -> int:
    """Dimension of all M with P M = M P for every generator P."""
    eye = torch.eye(spec.num_entries, dtype=torch.float64)
    constraints = torch.zeros(spec.num_entries**2, spec.num_entries**2, dtype=torch.float64)
    for permutations in generators_of(spec):
        p = action_matrix(spec, permutations)
        c = torch.kron(p, eye) - torch.kron(eye, p.T.contiguous())
        constraints += c.T @ c
    return int((torch.linalg.eigvalsh(constraints) < 1e-8).sum())


def dimension_by_orbits(spec: NetworkSpec) -> int:
    """Number of orbits of the group on pairs of entries, joining what generators map."""
    n = spec.num_entries
    moves = [action_matrix(spec, p).argmax(1) for p in generators_of(spec)]
    label = torch.arange(n * n).view(n, n)
    while True:
        joined = label
        for move in moves:
            moved = torch.empty_like(joined)
            moved[move[:, None], move[None, :]] = joined
            joined = torch.minimum(
                torch.minimum(joined, moved), joined[move[:, None], move[None, :]]
            )
        if torch.equal(joined, label):
            return len(label.unique())
        label = joined


def matrix_of(layer, spec: NetworkSpec) -> torch.Tensor:
    """The layer's dense matrix for one channel in and out, without its additive bias."""
    eye = torch.eye(spec.num_entries, dtype=torch.float64)
    sizes = [torch.Size(spec.shapes[name]).numel() for name in spec.names]
    pieces = eye.split(sizes, dim=1)
    feats = WeightSpaceFeatures(
        spec,
        {
            name: piece.view(-1, *spec.shapes[name], 1)
            for name, piece in zip(spec.names, pieces, strict=True)
        },
    )
    return torch.cat([t.flatten(1) for t in layer(feats).values()], dim=1)


def rank_of_family(layer, spec: NetworkSpec) -> int:
    with torch.no_grad():
        layer.bias.zero_()
        columns = []
        for weight in layer.weights:
            for position in range(weight.numel()):
                for other in layer.weights:
                    other.zero_()
                weight.view(-1)[position] = 1
                columns.append(matrix_of(layer, spec).flatten())
    return int(torch.linalg.matrix_rank(torch.stack(columns)))


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_linear_is_complete_and_minimal(cls, spec):
    layer = cls(spec, 1, 1).double()
    dimension = dimension_by_orbits(layer.spec)
    assert sum(w.numel() for w in layer.weights) == dimension == layer.num_weights
    assert rank_of_family(layer, spec) == dimension


@pytest.mark.parametrize("group", ["np", "hnp"])
def test_two_independent_dimension_counts_agree(group):
    spec = getattr(chain_spec([2, 3, 2], kernels=[(2,), ()]), group)()
    assert dimension_by_null_space(spec) == dimension_by_orbits(spec)


@pytest.mark.parametrize(
    ("cls", "widths", "expected"),
    [
        (NPLinear, [3, 4, 2], 32),
        (NPLinear, [2, 3, 4, 3], 62),
        (NPLinear, [2, 3, 2, 4, 3], 100),
        (HNPLinear, [3, 4, 2], 100),
        (HNPLinear, [2, 3, 4, 3], 163),
    ],
)
def test_number_of_weights_is_the_known_count(cls, widths, expected):
    assert cls(chain_spec(widths), 1, 1).num_weights == expected
    assert cls(chain_spec(widths), 3, 5).num_weights == 15 * expected


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_number_of_weights_follows_the_formulas(depth):
    widths = [2, *range(3, 2 + depth), 3]
    assert NPLinear(chain_spec(widths), 1, 1).num_weights == 4 * depth**2 + 10 * depth - 4
    n_in, n_out = widths[0], widths[-1]
    total = 2 * depth - 3 + n_in + 2 * n_out
    hidden = [
        1 + (n_in if i == 1 else 1) + (n_out if i == depth - 1 else 1) for i in range(1, depth)
    ]
    expected = total**2 + sum(f**2 for f in hidden) + depth - 2
    assert HNPLinear(chain_spec(widths), 1, 1).num_weights == expected


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_linear_equals_the_definition(cls, spec, generator):
    """Every block alone is: average the source, map channels, broadcast."""
    layer = cls(spec, 2, 3).double()
    feats = random_features(spec, 2, generator, dtype=torch.float64)
    total = {
        name: torch.zeros(2, *spec.shapes[name], 3, dtype=torch.float64) for name in spec.names
    }
    for block in layer.blocks():
        total[block.target] += apply_block(block, layer.spec, feats)
    for name in spec.names:
        axes = list(zip(spec.shapes[name], layer.spec.labels(name), strict=True))
        shape = [size if label is None else 1 for size, label in axes]
        expected = total[name] + layer.bias_of(name).view(*shape, 3)
        torch.testing.assert_close(layer(feats)[name].detach(), expected)


def apply_block(block, spec: NetworkSpec, feats: WeightSpaceFeatures) -> torch.Tensor:
    """One map written out with einsum: letters for labels, capitals for fixed axes."""
    letters = dict(zip(spec.sizes, "abcdefgh", strict=False))
    fixed_in, fixed_out, fresh = iter("ABCDE"), iter("FGHIJ"), iter("stuvwxyz")
    kept = {letters[label] for label in block.kept}
    read = [letters[label] if label else next(fixed_in) for label in spec.labels(block.source)]
    write = [letters[label] if label else next(fixed_out) for label in spec.labels(block.target)]
    # A label that is not kept is averaged on one side and broadcast on the other: two indices.
    write = [x if x in kept or x.isupper() else next(fresh) for x in write]
    size = dict(zip(read, spec.shapes[block.source], strict=True))
    size |= dict(zip(write, spec.shapes[block.target], strict=True))
    ins, outs = [x for x in read if x.isupper()], [x for x in write if x.isupper()]
    spread = [x for x in write if x.islower() and x not in kept]
    weight = block.weight.view(
        *(size[x] for x in ins), feats.channels, *(size[x] for x in outs), -1
    )
    operands = ["Z" + "".join(read) + "m", "".join([*ins, "m", *outs, "n"]), *spread]
    ones = [torch.ones(size[x], dtype=torch.float64) for x in spread]
    total = torch.einsum(
        ",".join(operands) + "->Z" + "".join(write) + "n", feats[block.source], weight, *ones
    )
    count = torch.Size([size[x] for x in read if x.islower() and x not in kept]).numel()
    return total / count


@pytest.mark.parametrize("cls", CLASSES)
def test_gradients_and_second_gradients_are_right(cls, generator):
    spec = chain_spec([2, 3, 2], kernels=[(2,), ()], biases=[True, False])
    layer = cls(spec, 2, 1).double()
    names = [name for name, _ in layer.named_parameters()]

    def fn(*args):
        feats = WeightSpaceFeatures(spec, dict(zip(spec.names, args, strict=False)))
        weights = dict(zip(names, args[len(spec.names) :], strict=True))
        return tuple(torch.func.functional_call(layer, weights, (feats,)).values())

    feats = random_features(spec, 2, generator, batch=(1,), dtype=torch.float64)
    inputs = [*feats.values(), *layer.parameters()]
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(fn, inputs)
    assert torch.autograd.gradgradcheck(fn, inputs, fast_mode=True)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_number_of_batch_axes(cls, batch, generator):
    spec = SPECS["filters in 2-D and 3-D"]
    layer = cls(spec, 2, 3).double()
    feats = random_features(spec, 2, generator, batch=batch, dtype=torch.float64)
    flat = {n: t.reshape(-1, *t.shape[len(batch) :]) for n, t in feats.items()}
    out, expected = layer(feats), layer(WeightSpaceFeatures(spec, flat))
    for name in spec.names:
        torch.testing.assert_close(
            out[name], expected[name].view(*batch, *expected[name].shape[1:])
        )
