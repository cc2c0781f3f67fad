"""A native layer on packed networks is made of the sums and products that it stands for."""

import pickle
from itertools import pairwise
from math import prod

import pytest
import torch
from torch import Tensor

from nfn_optim import NetworkSpec
from nfn_optim.layers import Pack, PackedFeatures
from nfn_optim.native.packed import Network
from nfn_optim.testing import chain_spec
from packed_networks import ALL, KINDS

pytestmark = pytest.mark.usefixtures("native_packed")

SPECS = {
    **KINDS,
    "long rows": [chain_spec([2, 40, 150, 3, 1])],
    "short kernels": [chain_spec([2, 3, 2], [(1, 5), (1, 1)])],
    "no weights": [NetworkSpec({"gain": ("n",), "scale": ()}, {"gain": (3,), "scale": ()})],
}
WIDTHS = [(1, 1), (1, 16), (8, 8), (16, 1), (16, 16), (17, 33), (40, 3)]  # in, out
KIND, SLOTS, PARAMETERS = slice(0, 2), slice(2, 6), slice(6, 8)  # sections


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(prod(shape))
    return torch.randn(shape, generator=generator, dtype=dtype)


def weights(c: int, o: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Of a layer, all of them different."""
    shapes = (o, c), (o, c), (o, c), (2, o, c), (3 * o, 3 * c), (2, o, 3 * c)
    return [draw(*shape, dtype=dtype) / c**0.5 + i / 10 for i, shape in enumerate(shapes)]


def given(pack: Pack, o: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Terms of parameters."""
    return draw(pack.native.num_parameters, o, dtype=dtype)


def table(pack: Pack, channels: int) -> Tensor:
    return draw(sum(network.num_entries for network in pack.links), channels)


def owners(network: Network, sections: slice) -> list[list[int]]:
    """The rows that each row of some sections belongs to, run by run."""
    starts = [0, *torch.tensor(network.counts).cumsum(0).tolist()]
    first, last, _ = sections.indices(8)
    found = []
    for count, *run in network.runs[starts[first] : starts[last]].tolist():
        pairs = [(row, step) for row, step in zip(run[:3], run[3:], strict=True) if row >= 0]
        found += [[row + e * step for row, step in pairs] for e in range(count)]
    return found


def incidence(network: Network, sections: slice, size: int) -> Tensor:
    """`(rows, size)`, ones where a row belongs to another."""
    rows = owners(network, sections)
    matrix = torch.zeros(len(rows), size, dtype=torch.float64)
    for row, own in zip(matrix, rows, strict=True):
        row[own] = 1
    return matrix


def in_matrices(network: Network, x: Tensor, weights: list[Tensor], given: Tensor) -> Tensor:
    """The layer on one network as products with incidences."""
    entry, vector, taps, own, neurons, whole = weights
    (o, c), sizes, n = entry.shape, network.sizes, 3 * network.neurons
    slots = incidence(network, KIND, sum(sizes[SLOTS]))
    of_slots = incidence(network, SLOTS, n + sum(sizes[PARAMETERS]))
    of_parameters = incidence(network, PARAMETERS, 2)

    def mean(belongs: Tensor, rows: Tensor) -> Tensor:
        return belongs.t() @ rows / belongs.sum(0).clamp(min=1).unsqueeze(1)

    means = mean(slots, x)
    parameters = mean(of_slots, means)
    kinds = mean(of_parameters, parameters[n:]).view(1, -1) @ whole[..., c:].flatten(0, 1).t()
    known = of_parameters @ kinds.view(2, o) + given
    split = parameters[n:].split(sizes[PARAMETERS])
    known = known + torch.cat([m @ w.t() for m, w in zip(split, whole[..., :c], strict=True)])
    mapped = (parameters[:n].view(-1, 3 * c) @ neurons.t()).view(-1, o)
    maps = [*own, torch.zeros(o, c, dtype=x.dtype), taps]
    split = means.split(sizes[SLOTS])
    terms = torch.cat([m @ w.t() for m, w in zip(split, maps, strict=True)])
    terms = terms + of_slots @ torch.cat([mapped, known])
    split = x.split(sizes[KIND])
    mapped = torch.cat([m @ w.t() for m, w in zip(split, (entry, vector), strict=True)])
    return mapped + slots @ terms


@pytest.fixture(params=SPECS.values(), ids=SPECS)
def pack(request) -> Pack:
    return Pack.of(request.param)


def test_runs_and_shares_are_those_of_links(pack):
    for spec in pack.specs:
        alone = Pack.of([spec])
        network, block = alone.links[0].native, alone.whole
        n, shares = sum(network.sizes[2:5]), []
        for sections, links in (
            (KIND, block.slots),
            (slice(2, 5), block.owners),
            (PARAMETERS, block.networks),
        ):
            ends, rows = links.back.ends.tolist(), links.back.rows.tolist()
            expected = [sorted(rows[begin:end]) for begin, end in pairwise(ends)]
            assert [sorted(own) for own in owners(network, sections)] == expected
            shares.append(links.there.shares.float().flatten())
        assert owners(network, slice(5, 6)) == [[]] * (sum(network.sizes[SLOTS]) - n)
        torch.testing.assert_close(torch.from_numpy(network.shares), torch.cat(shares))


@pytest.mark.parametrize(("ins", "outs"), WIDTHS)
def test_values_and_gradients_are_those_of_products_with_incidences(pack, ins, outs):
    for spec in pack.specs:
        alone = Pack.of([spec])
        inputs = [table(alone, ins), *weights(ins, outs), given(alone, outs)]
        x, *maps, terms = inputs
        native = alone.native
        (ours,) = native.map([x], maps, terms)
        exact = [tensor.double().requires_grad_() for tensor in inputs]
        theirs = in_matrices(alone.links[0].native, exact[0], exact[1:-1], exact[-1])
        torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-4)
        adjoint = draw(len(x), outs)
        expected = torch.autograd.grad(
            theirs, exact, adjoint.double(), allow_unused=True, materialize_grads=True
        )
        of_maps, of_terms, (of_x,) = native.map_back([adjoint], [x], maps, with_tables=True)
        for found, exact_one in zip((of_x, *of_maps, of_terms), expected, strict=True):
            torch.testing.assert_close(found, exact_one.float(), rtol=1e-4, atol=1e-3)
        of_maps_alone, _, nothing = native.map_back([adjoint], [x], maps, with_tables=False)
        assert nothing == [None]
        assert all(map(torch.equal, of_maps_alone, of_maps))


@pytest.mark.parametrize("channels", [5, 16, 24])
def test_large_results_are_written_as_small_ones(channels):
    """They go past the cache, from wherever a row of cache lines begins."""
    pack = Pack.of([chain_spec([3, 2]), chain_spec([300, 211, 201])])
    x, (entry, *others) = table(pack, channels), weights(channels, channels)
    maps = [entry, entry, *(other * 0 for other in others[1:])]
    nothing = torch.zeros(pack.native.num_parameters, channels)
    whole = torch.zeros(x.numel() + 1)
    moved = whole[1:].view_as(x).copy_(x)
    assert x.nbytes > 1 << 21
    expected = pack.native.map([x], maps, nothing)[0]
    torch.testing.assert_close(expected, x @ entry.t(), rtol=1e-5, atol=1e-5)
    assert torch.equal(pack.native.map([moved], maps, nothing)[0], expected)


def test_what_is_no_number_stays_with_its_network(pack):
    x, maps, terms = table(pack, 3), weights(3, 3), given(pack, 3)
    before = PackedFeatures(pack, pack.native.map([x], maps, terms)).split()
    x[0, 1] = torch.nan
    first, *others = PackedFeatures(pack, pack.native.map([x], maps, terms)).split()
    assert all(tensor.isnan().all() for tensor in first.values())
    for ours, theirs in zip(others, before[1:], strict=True):
        assert all(map(torch.equal, ours.values(), theirs.values()))


def test_threads_give_the_same(monkeypatch):
    monkeypatch.setattr("nfn_optim.layers.relational._pack._ENTRIES", 40)
    pack = Pack.of([*ALL, ALL[0]])
    native, maps, terms = pack.native, weights(6, 6), given(pack, 6)
    tables = [draw(int(size), 6) for size in native.blocks[:, 2]]
    assert len(tables) > 4

    def run() -> list[Tensor]:
        made = native.map(tables, maps, terms)
        of_maps, of_terms, of_tables = native.map_back(made, tables, maps, with_tables=True)
        return [*made, *of_maps, of_terms, *of_tables]

    single = run()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert all(map(torch.equal, run(), single))
    finally:
        torch.set_num_threads(threads)


def test_tables_of_many_networks_are_those_of_each(pack):
    whole = table(pack, 4)
    maps, terms = weights(4, 4), given(pack, 4)
    found = PackedFeatures(pack, pack.native.map([whole], maps, terms)).split()
    features = PackedFeatures(pack, [whole]).split()
    kinds = terms.split([pack.whole.num_weights, pack.whole.num_vectors])
    ends = [0, 0]
    for feats, own, expected in zip(features, pack.links, found, strict=True):
        parts = []
        for kind, parameters in enumerate(own.kinds):
            parts.append(kinds[kind][ends[kind] : ends[kind] + len(parameters)])
            ends[kind] += len(parameters)
        alone = Pack.of([own.spec])
        table_alone = alone.join([feats]).tensors
        (y,) = alone.native.map(table_alone, maps, torch.cat(parts))
        (single,) = PackedFeatures(alone, [y]).split()
        assert all(map(torch.equal, single.values(), expected.values()))


@pytest.mark.parametrize("place", range(6))
def test_what_does_not_fit_is_refused(place):
    pack = Pack.of([chain_spec([3, 5, 2])])
    maps, terms = weights(4, 4), given(pack, 4)
    names = ["entry", "vector", "taps", "own", "neurons", "network"]
    wrong = list(maps)
    wrong[place] = maps[place].double()
    with pytest.raises(ValueError, match=rf"^{names[place]}: got torch.float64"):
        pack.native.map([table(pack, 4)], wrong, terms)
    with pytest.raises(ValueError, match=r"^given: .* expects torch.float32 of shape \(4, 4\)"):
        pack.native.map([table(pack, 4)], maps, terms[1:])
    with pytest.raises(ValueError, match=r"^table 0: .* expects torch.float32 of shape \(32, 4\)"):
        pack.native.map([table(pack, 3)], maps, terms)
    with pytest.raises(ValueError, match=r"^adjoint 0: "):
        pack.native.map_back([table(pack, 3)], [table(pack, 4)], maps, with_tables=True)


def test_packs_are_pickled_with_what_native_code_knows(pack):
    x, maps, terms = table(pack, 2), weights(2, 2), given(pack, 2)
    (expected,) = pack.native.map([x], maps, terms)
    copy = pickle.loads(pickle.dumps(pack.native))
    assert torch.equal(copy.map([x], maps, terms)[0], expected)
