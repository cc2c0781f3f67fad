"""One table of layers, and the laws that all of them obey."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import (
    ChannelDropout,
    CrossAttnPool,
    FlattenWeights,
    GaussianFourierFeatures,
    HNPLinear,
    HNPPool,
    IOSinusoidalEncoding,
    LearnedPosEmbedding,
    LearnedScale,
    LowRankHNPLinear,
    Map,
    NetworkPool,
    NPAttention,
    NPLinear,
    NPPool,
    Pointwise,
    ResidualBlock,
    SharedNPLinear,
    StatFeaturizer,
    UnflattenWeights,
    WeightSpaceLayerNorm,
)
from nfn_optim.symmetry._spec import SpecError
from nfn_optim.testing import (
    assert_equivariant,
    assert_invariant,
    attention_spec,
    chain_spec,
    chain_specs,
    random_features,
    recurrent_spec,
    residual_spec,
    scattered_spec,
)

C = 4
# name -> (build from a spec, group the layer is equivariant under)
EQUIVARIANT = {
    "NPLinear": (lambda s: NPLinear(s, C, 3), "np"),
    "HNPLinear": (lambda s: HNPLinear(s, C, 3), "hnp"),
    "LowRankHNPLinear": (lambda s: LowRankHNPLinear(s, C, 3, rank=2), "hnp"),
    "Pointwise": (lambda s: Pointwise(s, C, 3), "np"),
    "NPAttention": (lambda s: NPAttention(s, C, 2), "np"),
    "NPAttention, own maps": (lambda s: NPAttention(s, C, 2, share_projections=False), "np"),
    "LearnedPosEmbedding": (lambda s: LearnedPosEmbedding(s, C), "hnp"),
    "IOSinusoidalEncoding": (lambda s: IOSinusoidalEncoding(s, 4, 2), "hnp"),
    "GaussianFourierFeatures": (lambda s: GaussianFourierFeatures(s, C, 3, 0.3), "np"),
    "NP norm": (lambda s: WeightSpaceLayerNorm(s.np(), C), "np"),
    "HNP norm": (lambda s: WeightSpaceLayerNorm(s.hnp(), C), "hnp"),
    "ChannelDropout": (lambda s: Reseeded(ChannelDropout(s.np(), 0.5)), "np"),
    "HNP ChannelDropout": (lambda s: Reseeded(ChannelDropout(s.hnp(), 0.5)), "hnp"),
    "ResidualBlock": (lambda s: ResidualBlock(NPLinear(s, C, C), Map(nn.GELU())), "np"),
    "Map": (lambda s: Map(torch.tanh), "np"),
    "LearnedScale": (lambda s: LearnedScale(s), "np"),
}
INVARIANT = {
    "NPPool": (lambda s: NPPool(s), "np"),
    "NetworkPool": (lambda s: NetworkPool(), "np"),
    "HNPPool": (lambda s: HNPPool(s), "hnp"),
    "CrossAttnPool": (lambda s: CrossAttnPool(s, C, 3), "np"),
    "StatFeaturizer": (lambda s: StatFeaturizer(s), "np"),
}
EVERY = EQUIVARIANT | INVARIANT
FLAT = {
    "FlattenWeights": (lambda s: FlattenWeights(s), ""),
    "UnflattenWeights": (lambda s: nn.Sequential(FlattenWeights(s), UnflattenWeights(s)), ""),
}
MIXED = chain_spec([2, 3, 4, 3], kernels=[(3, 3), (2,), ()], biases=[True, False, True])
SPECS = {
    "mixed": MIXED,
    "one layer": chain_spec([3, 2]),
    "one layer, no bias": chain_spec([3, 2], biases=[False]),
    "3-D": chain_spec([2, 3, 2], kernels=[(1, 2, 2), (2, 1, 1)]),
    "residual": residual_spec(),
    "scattered": scattered_spec(),
    "attention": attention_spec(),
    "attention, pinned": replace(attention_spec(), pinned=["content"]),
}
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Reseeded(nn.Module):
    """A random layer that draws the same numbers in every call."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, feats):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.layer(feats)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def perturbed(layer):
    """Parameters that start symmetric (gains, scales) would hide what they can break."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return layer


def table(entries):
    return pytest.mark.parametrize(("build", "group"), entries.values(), ids=entries)


def tensors_of(result):
    return dict(result.items()) if isinstance(result, WeightSpaceFeatures) else {"": result}


@table(EQUIVARIANT)
@given(spec=chain_specs(3))
@few
def test_layers_commute_with_permutations(build, group, spec):
    generator = torch.Generator().manual_seed(0)
    feats = random_features(spec, C, generator, dtype=torch.float64)
    assert_equivariant(
        perturbed(build(spec).double()), getattr(spec, group)(), feats, generator, trials=2
    )


@table(INVARIANT)
@given(spec=chain_specs(3))
@few
def test_pools_ignore_permutations(build, group, spec):
    generator = torch.Generator().manual_seed(0)
    feats = random_features(spec, C, generator, dtype=torch.float64)
    assert_invariant(
        perturbed(build(spec).double()), getattr(spec, group)(), feats, generator, trials=2
    )


@table(EQUIVARIANT)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_layers_commute_on_the_zoo(build, group, spec, generator):
    feats = random_features(spec, C, generator, dtype=torch.float64)
    assert_equivariant(perturbed(build(spec).double()), getattr(spec, group)(), feats, generator)


@table(INVARIANT)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_pools_ignore_permutations_on_the_zoo(build, group, spec, generator):
    feats = random_features(spec, C, generator, dtype=torch.float64)
    assert_invariant(perturbed(build(spec).double()), getattr(spec, group)(), feats, generator)


TWICE = ("NPLinear", "HNPLinear", "LowRankHNPLinear", "NPAttention", "ResidualBlock")


@table({n: e for n, e in EQUIVARIANT.items() if n.split(",")[0] not in TWICE})
def test_layers_commute_where_a_population_runs_along_two_axes(build, group, generator):
    spec = recurrent_spec()
    feats = random_features(spec, C, generator, dtype=torch.float64)
    assert_equivariant(perturbed(build(spec).double()), getattr(spec, group)(), feats, generator)


@table(INVARIANT)
def test_pools_ignore_permutations_of_two_axes(build, group, generator):
    spec = recurrent_spec()
    feats = random_features(spec, C, generator, dtype=torch.float64)
    assert_invariant(perturbed(build(spec).double()), getattr(spec, group)(), feats, generator)


@pytest.mark.parametrize("name", TWICE)
def test_layers_that_need_different_axes_refuse_one_population_on_two(name):
    with pytest.raises(SpecError, match=r"cannot treat 'self'.*run over one population twice"):
        EQUIVARIANT[name][0](recurrent_spec())


@pytest.mark.parametrize("name", [n for n, (_, group) in EVERY.items() if group == "hnp"])
def test_hnp_layers_see_the_order_of_inputs_and_outputs(name, generator):
    layer = perturbed(EVERY[name][0](MIXED).double())
    feats = random_features(MIXED, C, generator, dtype=torch.float64)
    check = assert_equivariant if name in EQUIVARIANT else assert_invariant
    with pytest.raises(AssertionError, match=r"not (equi|in)variant"):
        check(layer, MIXED.np(), feats, generator)


@table({n: e for n, e in EVERY.items() if "Dropout" not in n})
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_any_number_of_batch_axes(build, group, batch, generator):
    layer = build(MIXED).double()
    feats = random_features(MIXED, C, generator, batch=batch, dtype=torch.float64)
    flat = {n: t.reshape(-1, *t.shape[len(batch) :]) for n, t in feats.items()}
    expected = tensors_of(layer(WeightSpaceFeatures(MIXED, flat)))
    for name, got in tensors_of(layer(feats)).items():
        torch.testing.assert_close(got, expected[name].unflatten(0, batch or (1,)).view(got.shape))


@table(EVERY | {"SharedNPLinear": (lambda s: SharedNPLinear(C, 3), "np"), **FLAT})
@pytest.mark.parametrize("batch", [(0,), (2, 0)])
def test_an_empty_batch_gives_empty_results_and_gradients(build, group, batch, generator):
    layer = build(MIXED)
    feats = random_features(MIXED, C, generator, batch=batch, dtype=torch.float32)
    leaves = {n: t.requires_grad_() for n, t in feats.items()}
    full = {n: t.new_ones(2, *t.shape[len(batch) :]) for n, t in leaves.items()}
    expected = tensors_of(layer(WeightSpaceFeatures(MIXED, full)))
    results = tensors_of(layer(WeightSpaceFeatures(MIXED, leaves)))
    for name, got in results.items():
        assert got.shape == (*batch, *expected[name].shape[1:])
    sum(t.sum() for t in results.values()).backward()
    for leaf in leaves.values():
        assert leaf.grad is None or leaf.grad.shape == leaf.shape
    for parameter in layer.parameters():
        assert parameter.grad is None or not parameter.grad.any()


@table({n: e for n, e in EVERY.items() if "Dropout" not in n})
def test_vmap_equals_the_batch(build, group, generator):
    layer = build(MIXED).double()
    feats = random_features(MIXED, C, generator, batch=(3,), dtype=torch.float64)
    mapped = tensors_of(torch.vmap(layer)(feats))
    for name, expected in tensors_of(layer(feats)).items():
        torch.testing.assert_close(mapped[name], expected)


@table(EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_lower_precision_is_close_and_keeps_its_dtype(build, group, dtype, generator):
    layer = build(MIXED).double().eval()
    feats = random_features(MIXED, C, generator, dtype=torch.float64).map(
        lambda t: t.bfloat16().double()
    )
    expected = tensors_of(layer(feats))
    lower = copy.deepcopy(layer).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    for name, got in tensors_of(lower(feats.to(dtype))).items():
        assert got.dtype == dtype
        error = (got.double() - expected[name]).norm() / expected[name].norm()
        assert error < tolerance, name


@table({n: e for n, e in EVERY.items() if list(e[0](MIXED).parameters())})
def test_every_weight_gets_a_gradient(build, group, generator):
    layer = build(MIXED).double()
    feats = random_features(MIXED, C, generator, dtype=torch.float64)
    results = tensors_of(layer(feats)).values()
    loss = sum((t**2).sum() for t in results)
    loss.backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@table({n: e for n, e in EVERY.items() if n not in ("Map", "NetworkPool")})
def test_features_of_another_network_are_refused_by_name(build, group, generator):
    layer = build(MIXED).double()
    name = type(getattr(layer, "layer", layer)).__name__.removesuffix("Block")
    other = random_features(chain_spec([2, 3, 5, 3]), C, generator, dtype=torch.float64)
    with pytest.raises(
        SpecError, match=r"(?s)was built for .*'0\.weight'.*\(3, 2, 3, 3\).*\(3, 2\)"
    ) as e:
        layer(other)
    assert name in str(e.value) or name in {"Residual", "CrossAttnPool"}


@pytest.mark.parametrize(
    "name", ["NPLinear", "HNPLinear", "Pointwise", "NPAttention", "LearnedPosEmbedding", "NP norm"]
)
def test_another_number_of_channels_is_refused(name, generator):
    layer = EQUIVARIANT[name][0](MIXED).double()
    with pytest.raises(SpecError, match="was built for 4 channels; the features have 5"):
        layer(random_features(MIXED, 5, generator, dtype=torch.float64))


def test_flatten_and_unflatten_are_inverses(generator):
    feats = random_features(MIXED, C, generator, batch=(2, 3), dtype=torch.float64)
    flat = FlattenWeights(MIXED)(feats)
    assert flat.shape == (2, 3, MIXED.num_entries, C)
    back = UnflattenWeights(MIXED)(flat)
    for name in MIXED.names:
        assert torch.equal(back[name], feats[name])


def test_unflatten_names_both_sizes():
    with pytest.raises(SpecError, match=rf"\(1, 7, 2\).*{MIXED.num_entries}"):
        UnflattenWeights(MIXED)(torch.zeros(1, 7, 2))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("cls", [NPPool, HNPPool, StatFeaturizer])
def test_out_features_is_the_length(cls, spec, generator):
    pool = cls(spec)
    features = random_features(spec, C, generator, dtype=torch.float64)
    assert pool(features).shape == (2, pool.out_features(C))


def test_a_network_pool_is_as_long_for_every_network():
    generator = torch.Generator().manual_seed(0)
    pool = NetworkPool()
    for spec in (chain_spec([2, 3]), chain_spec([2, 5, 4, 3], kernels=[(3, 3), (), ()])):
        pooled = pool(random_features(spec, C, generator, batch=(6,)))
        assert pooled.shape == (6, pool.out_features(C))


def test_a_network_pool_tells_first_and_last_parameters():
    spec = chain_spec([2, 3, 4])
    ones = {
        name: torch.full((*spec.shapes[name], 1), float(i)) for i, name in enumerate(spec.names)
    }
    weights, vectors = spec.weights, spec.vectors
    index = {name: i for i, name in enumerate(spec.names)}
    wanted = [
        sum(index[n] for n in weights) / 2,
        sum(index[n] for n in vectors) / 2,
        index[weights[0]],
        (index[weights[1]] + index[vectors[1]]) / 2,
    ]
    assert NetworkPool()(WeightSpaceFeatures(spec, ones)).tolist() == wanted
