"""The native passes of the linear NF-Layers do what the plain operations do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import HNPLinear, NPLinear
from nfn_optim.layers.derived import _native
from nfn_optim.native import lanes
from nfn_optim.testing import chain_spec, chain_specs, random_features, residual_spec

pytestmark = pytest.mark.skipif(not _native.can_build(), reason="there is no C++ compiler")

CHANNELS = 16


@pytest.fixture
def taken(monkeypatch):
    """Names of the native passes that run."""
    names = []

    def spy(name):
        original = getattr(_native, name)

        def call(*args, **kwargs):
            names.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(_native, name, call)

    for name in ("gather", "scatter", "outer"):
        spy(name)
    return names


def features(spec, channels=CHANNELS, batch=(2,)):
    generator = torch.Generator().manual_seed(0)
    return random_features(spec, channels, generator, batch=batch, dtype=torch.float32)


def gradients(layer, feats):
    """Results, and gradients of features and parameters under random cotangents."""
    inputs = {n: t.detach().clone().requires_grad_() for n, t in feats.items()}
    results = layer(WeightSpaceFeatures(feats.spec, inputs)).values()
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(t.shape, generator=generator) for t in results]
    wanted = [*inputs.values(), *layer.parameters()]
    return [*results, *torch.autograd.grad(list(results), wanted, cotangents)]


def assert_native_is_the_same(layer, feats):
    native = gradients(layer, feats)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "fits", lambda *args: False)
        plain = gradients(layer, feats)
    for a, b in zip(native, plain, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() + 1e-6


@given(
    chain_specs(),
    st.sampled_from([NPLinear, HNPLinear]),
    st.sampled_from([(), (1,), (3,), (2, 2)]),
    st.sampled_from([CHANNELS, 3 * CHANNELS]),
)
@settings(max_examples=40, deadline=None)
def test_any_chain_gives_the_same(spec, layer, batch, channels):
    assert_native_is_the_same(layer(spec, channels, CHANNELS), features(spec, channels, batch))


@pytest.mark.parametrize(
    "spec",
    [
        residual_spec(),
        chain_spec([784, 32, 10]),
        chain_spec([3, 32, 17, 10], [(3, 3), (3,), ()]),
        chain_spec([5, 4], None, [False]),
    ],
    ids=["residual", "wide", "kernels", "one weight"],
)
def test_any_network_gives_the_same(spec, taken):
    assert_native_is_the_same(NPLinear(spec, CHANNELS, CHANNELS), features(spec))
    assert taken == ["gather", "scatter", "gather", "outer", "scatter"]


def test_threads_share_the_work_and_change_nothing():
    layer = NPLinear(chain_spec([200, 130, 10]), CHANNELS, CHANNELS)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(gradients(layer, features(layer.spec, batch=(3,))))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_second_derivatives_are_the_same(taken):
    layer = NPLinear(chain_spec([3, 4, 2]), CHANNELS, CHANNELS)

    def second():
        inputs = {n: t.requires_grad_() for n, t in features(layer.spec).items()}
        out = layer(WeightSpaceFeatures(layer.spec, inputs))
        total = sum(t.square().sum() for t in out.values())
        first = torch.autograd.grad(total, inputs.values(), create_graph=True)
        energy = sum(g.square().sum() for g in first)
        return torch.autograd.grad(energy, [*inputs.values(), *layer.parameters()])

    native = second()
    assert taken
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "fits", lambda *args: False)
        plain = second()
    for a, b in zip(native, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_only_what_is_needed_gets_a_gradient(taken):
    layer = NPLinear(chain_spec([3, 4, 2]), CHANNELS, CHANNELS)
    layer(features(layer.spec))["0.weight"].sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert taken == ["gather", "scatter", "gather", "outer"]
    layer.requires_grad_(False)
    feats = features(layer.spec)
    feats["1.bias"].requires_grad_()
    layer(feats)["0.weight"].sum().backward()
    assert feats["1.bias"].grad.abs().sum() > 0
    assert taken[4:] == ["gather", "scatter", "gather", "scatter"]


def test_results_may_be_written_to():
    layer = NPLinear(chain_spec([3, 4, 2], [(2,), ()]), CHANNELS, CHANNELS)
    out = layer(features(layer.spec))
    sum(t.relu_().sum() for t in out.values()).backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_features_of_any_layout_give_the_same():
    layer = NPLinear(chain_spec([3, 4, 2]), CHANNELS, CHANNELS)
    feats = features(layer.spec)
    strided = feats.like([t.movedim(-1, 0).contiguous().movedim(0, -1) for t in feats.values()])
    for a, b in zip(layer(feats).values(), layer(strided).values(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_take_the_other_way(taken, dtype):
    layer = NPLinear(chain_spec([3, 4, 2]), CHANNELS, CHANNELS).to(dtype)
    layer(features(layer.spec).like([t.to(dtype) for t in features(layer.spec).values()]))
    assert not taken


def test_channels_that_fill_no_register_and_many_columns_take_the_other_way(taken):
    spec = chain_spec([3, 4, 2])
    for channels in (lanes() - 1, _native.MOST_COLUMNS + lanes()):
        NPLinear(spec, channels, channels)(features(spec, channels))
    assert not taken


def test_autocast_takes_the_other_way(taken):
    layer = NPLinear(chain_spec([3, 4, 2]), CHANNELS, CHANNELS)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(features(layer.spec))
    sum(t.float().sum() for t in out.values()).backward()
    assert not taken
    assert {t.dtype for t in out.values()} == {torch.bfloat16}
    assert all(p.grad is not None for p in layer.parameters())


def test_tensors_without_memory_take_the_other_way(taken):
    with FakeTensorMode():
        layer = NPLinear(chain_spec([3, 4, 2]), CHANNELS, CHANNELS)
        out = layer(features(layer.spec))
    assert not taken
    assert out["0.weight"].shape == (2, 4, 3, CHANNELS)


def test_meta_tensors_take_the_other_way(taken):
    layer = NPLinear(chain_spec([3, 4, 2]), CHANNELS, CHANNELS).to("meta")
    out = layer(features(layer.spec).like([t.to("meta") for t in features(layer.spec).values()]))
    assert not taken
    assert out["0.weight"].shape == (2, 4, 3, CHANNELS)


def test_native_code_can_be_turned_off(monkeypatch):
    monkeypatch.setenv("NFN_NATIVE", "0")
    for cached in (_native.library, _native.can_build):
        cached.cache_clear()
    try:
        assert not _native.can_build()
        with pytest.raises(RuntimeError, match="NFN_NATIVE=0"):
            _native.library()
    finally:
        monkeypatch.undo()
        for cached in (_native.library, _native.can_build):
            cached.cache_clear()
