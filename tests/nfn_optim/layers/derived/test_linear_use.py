"""NPLinear and HNPLinear in use: initialisation, size limits, compile, vmap, precision, memory."""

import copy
import pickle

import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import HNPLinear, LowRankHNPLinear, Map, NPLinear, Pointwise, fan_in_uniform
from nfn_optim.symmetry._spec import SpecError
from nfn_optim.testing import assert_equivariant, chain_spec, equivariance_error, random_features

CLASSES = [NPLinear, HNPLinear]
SPECS = {
    "SIREN": chain_spec([2, 32, 32, 1]),
    "deep": chain_spec([4, 16, 16, 16, 3]),
    "CNN": chain_spec([1, 16, 16, 10], kernels=[(3, 3), (3, 3), ()]),
    "no biases": chain_spec([8, 32, 4], biases=[False, False]),
}
SPEC = chain_spec([2, 4, 3], kernels=[(2,), ()])


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def mean_square(feats):
    return torch.cat([t.flatten() for t in feats.values()]).square().mean().item()


@torch.no_grad()
def five_layers(build, spec, channels=32):
    """Mean square of features after five layers with ReLU, over that of the input."""
    torch.manual_seed(0)
    feats = random_features(spec, channels, torch.Generator().manual_seed(0), dtype=torch.float32)
    for _ in range(5):
        feats = Map(nn.ReLU())(build(spec, channels, channels)(feats))
    return mean_square(feats)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("cls", [NPLinear, HNPLinear, LowRankHNPLinear, Pointwise])
def test_five_layers_keep_the_size_of_features(cls, spec):
    assert 0.25 < five_layers(cls, spec) < 4


@pytest.mark.parametrize("cls", CLASSES)
def test_the_papers_initialisation_is_uniform_by_fan_in_and_shrinks(cls):
    torch.manual_seed(0)
    layer = cls(SPEC, 8, 8, init=fan_in_uniform)
    for target in SPEC.names:
        blocks = [b for b in layer.blocks() if b.target == target]
        bound = sum(b.weight.shape[0] for b in blocks) ** -0.5
        largest = max(b.weight.abs().max() for b in blocks)
        assert 0.9 * bound < largest <= bound
        assert layer.bias_of(target).abs().max() <= bound
    assert five_layers(lambda *a: cls(*a, init=fan_in_uniform), SPECS["SIREN"]) < 0.1


def test_a_wide_hnp_layer_is_refused_with_its_size():
    spec = chain_spec([784, 128, 10])
    with pytest.raises(
        SpecError, match=r"HNPLinear\(16, 16\) would hold 327,\d+,\d+ weights \(1\.3 GB"
    ):
        HNPLinear(spec, 16, 16)
    with pytest.raises(SpecError, match="LowRankHNPLinear.*IOSinusoidalEncoding.*max_weights=327"):
        HNPLinear(spec, 16, 16)


def test_the_size_limit_is_an_argument():
    with pytest.raises(SpecError, match="max_weights"):
        HNPLinear(SPEC, 4, 4, max_weights=100)
    assert HNPLinear(SPEC, 4, 4, max_weights=10**6).num_weights > 100


def test_the_low_rank_layer_is_small_on_wide_inputs(generator):
    spec = chain_spec([784, 128, 10])
    layer = LowRankHNPLinear(spec, 16, 16, rank=8)
    assert sum(p.numel() for p in layer.parameters()) < 500_000
    feats = random_features(spec, 16, generator, batch=(1,), dtype=torch.float32)
    assert layer(feats)["0.weight"].shape == (1, 128, 784, 16)


def test_the_low_rank_layer_of_full_rank_holds_every_hnp_layer(generator):
    """With identity factors and the shared part zero it is HNPLinear."""
    spec = chain_spec([3, 4, 2])
    full = HNPLinear(spec, 2, 2).double()
    layer = LowRankHNPLinear(spec, 2, 2, rank=2).double()
    layer.read[0] = layer.write[0] = nn.Parameter(torch.eye(3, dtype=torch.float64))
    layer._small, layer.specific = spec.hnp(), full
    feats = random_features(spec, 2, generator, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.shared.parameters():
            parameter.zero_()
    for name, expected in full(feats).items():
        torch.testing.assert_close(layer(feats)[name], expected)


def test_the_low_rank_layer_keeps_pinned_neurons_in_order(generator):
    """Neurons of a pinned population have weights of their own, those of others do not."""
    spec = NetworkSpec(
        {"conv": ("pin", "in", None), "fc": ("h", "pin", None), "head": ("out", "h")},
        {"conv": (5, 3, 2), "fc": (4, 5, 3), "head": (3, 4)},
        io=("in", "out"),
        pinned=("pin",),
        stored={"conv": (3, 5, 2), "fc": (4, 15)},
        orders={"conv": (1, 0, 2)},
    )
    layer = LowRankHNPLinear(spec, 2, 3, rank=2).double()
    assert layer._small.pinned == {"pin"}
    assert layer._small.sizes["pin"] == 2
    feats = random_features(spec, 2, generator, dtype=torch.float64)
    assert_equivariant(layer, spec.hnp(), feats, generator)
    turned = {"pin": torch.arange(5).roll(1)}
    assert min(equivariance_error(layer, feats, turned).values()) > 1e-3


@pytest.mark.parametrize("cls", CLASSES)
def test_vmap_over_weights_and_features_equals_a_loop(cls, generator):
    layer = cls(SPEC, 2, 3).double()
    weights = {
        n: torch.randn(3, *p.shape, dtype=torch.float64) for n, p in layer.named_parameters()
    }
    feats = random_features(SPEC, 2, generator, batch=(3, 2), dtype=torch.float64)

    def loss(weights, feats):
        out = torch.func.functional_call(layer, weights, (feats,))
        return sum((t**3).sum() for t in out.values())

    gradients = torch.vmap(torch.func.grad(loss))(weights, feats)
    for i in range(3):
        one = {n: w[i] for n, w in weights.items()}
        expected = torch.func.grad(loss)(one, pick(feats, i))
        for name in expected:
            torch.testing.assert_close(gradients[name][i], expected[name])


def pick(feats, index):
    return WeightSpaceFeatures(feats.spec, {n: t[index] for n, t in feats.items()})


@pytest.mark.parametrize("cls", CLASSES)
def test_gradient_through_vmap_equals_the_batch(cls, generator):
    """The meta-training pattern: differentiate the sum of a vmapped layer in its weights."""
    layer = cls(SPEC, 2, 3).double()
    feats = random_features(SPEC, 2, generator, batch=(3, 2), dtype=torch.float64)
    weights = dict(layer.named_parameters())

    def total(fn):
        loss = sum((t**3).sum() for t in fn(feats).values())
        return torch.autograd.grad(loss, list(weights.values()))

    for got, expected in zip(total(torch.vmap(layer)), total(layer), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("cls", CLASSES)
def test_compiles_to_one_graph(cls, generator):
    layer = cls(SPEC, 2, 3)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    feats = random_features(SPEC, 2, generator, dtype=torch.float32)
    weights = list(layer.parameters())
    first = compiled(feats)  # before anything could be remembered from an eager call
    for name, expected in layer(feats).items():
        torch.testing.assert_close(first[name], expected)
    got, expected = (
        torch.autograd.grad(sum((t**2).sum() for t in fn(feats).values()), weights)
        for fn in (compiled, layer)
    )
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("cls", CLASSES)
def test_averages_are_exact_after_a_change_of_dtype(cls, generator):
    """One over a count of neurons, rounded to single precision, would show in double."""
    spec = chain_spec([3, 7, 3])
    feats = random_features(spec, 1, generator, dtype=torch.float64).map(torch.ones_like)
    layer = cls(spec, 1, 1).float().double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
    for name, tensor in layer(feats).items():
        assert (tensor - tensor.round()).abs().max() < 1e-12, name


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("widths", [[3, 4, 2], [64, 32, 3]], ids=["small", "in blocks"])
def test_written_out_gradients_equal_those_of_plain_operations(cls, widths, generator):
    """Transforms of functions see plain operations; everything else the adjoint written out."""
    spec = chain_spec(widths)
    layer = cls(spec, 2, 3).double()
    feats = random_features(spec, 2, generator, dtype=torch.float64).map(
        lambda t: t.requires_grad_()
    )
    weights = dict(layer.named_parameters())

    def loss(weights, feats):
        out = torch.func.functional_call(layer, weights, (feats,))
        return sum((t**3).sum() for t in out.values())

    plain = torch.func.grad(loss, argnums=(0, 1))(weights, feats)
    inputs = [*weights.values(), *feats.values()]
    written_out = torch.autograd.grad(loss(weights, feats), inputs)
    for got, expected in zip(written_out, [*plain[0].values(), *plain[1].values()], strict=True):
        torch.testing.assert_close(got, expected)


def test_results_may_be_written_to_in_place(generator):
    layer = NPLinear(SPEC, 2, 2)
    feats = random_features(SPEC, 2, generator, dtype=torch.float32)
    in_place = Map(nn.ReLU(inplace=True))(layer(feats))
    for name, expected in Map(nn.ReLU())(layer(feats)).items():
        assert torch.equal(in_place[name], expected)
    sum(t.sum() for t in in_place.values()).backward()


@pytest.mark.parametrize("cls", CLASSES)
def test_unused_results_are_zero_gradients(cls, generator):
    layer = cls(SPEC, 2, 2).double()
    feats = random_features(SPEC, 2, generator, dtype=torch.float64).map(
        lambda t: t.requires_grad_()
    )
    inputs = [*feats.values(), *layer.parameters()]
    alone = torch.autograd.grad(layer(feats)["0.bias"].sum(), inputs)
    whole = sum((i == 1) * t.sum() for i, t in enumerate(layer(feats).values()))
    for got, expected in zip(alone, torch.autograd.grad(whole, inputs), strict=True):
        torch.testing.assert_close(got, expected)


def test_features_in_another_memory_order_give_the_same(generator):
    layer = NPLinear(SPEC, 2, 3).double()
    feats = random_features(SPEC, 2, generator, dtype=torch.float64)
    strided = feats.map(lambda t: t.transpose(0, -1).contiguous().transpose(0, -1))
    assert not strided["0.weight"].is_contiguous()
    for name, expected in layer(feats).items():
        torch.testing.assert_close(layer(strided)[name], expected)


@pytest.mark.parametrize("cls", CLASSES)
def test_layers_copy_pickle_and_save(cls, generator):
    layer = cls(SPEC, 2, 3)
    feats = random_features(SPEC, 2, generator, dtype=torch.float32)
    other = cls(SPEC, 2, 3)
    other.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        for name, expected in layer(feats).items():
            assert torch.equal(twin(feats)[name], expected)
    assert repr(layer) == f"{cls.__name__}(2, 3, num_weights={layer.num_weights:,})"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("cls", CLASSES)
def test_cuda_equals_cpu(cls, generator):
    layer = cls(SPEC, 2, 3).double()
    feats = random_features(SPEC, 2, generator, dtype=torch.float64)
    moved = copy.deepcopy(layer).cuda()(feats.to("cuda"))
    for name, expected in layer(feats).items():
        torch.testing.assert_close(moved[name].cpu(), expected)


def test_a_layer_for_a_flatten_boundary(generator):
    spec = NetworkSpec(
        {"conv": ("h", "in", None), "fc": ("out", "h", None), "fc.bias": ("out",)},
        {"conv": (4, 2, 3), "fc": (3, 4, 5), "fc.bias": (3,)},
        io=("in", "out"),
        stored={"fc": (3, 20)},
    )
    layer = HNPLinear(spec, 2, 3).double()
    out = layer(random_features(spec, 2, generator, dtype=torch.float64))
    assert out["fc"].shape == (2, 3, 4, 5, 3)
