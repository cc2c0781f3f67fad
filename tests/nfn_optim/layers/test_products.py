"""Long products give the same in whichever way they are computed."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import HNPLinear, NPLinear, _products
from nfn_optim.testing import chain_spec, random_features

SPEC = chain_spec([2, 32, 33, 1])


@pytest.fixture
def long_ones(monkeypatch):
    """Shapes of the products that are oneDNN's."""
    shapes, linear = [], _products._linear()
    if linear is None:
        pytest.skip("this processor or this torch has no product of oneDNN that is worth having")

    def spy(x, weight, *options):
        shapes.append((*x.shape, weight.shape[0]))
        return linear(x, weight, *options)

    monkeypatch.setattr(_products, "_linear", lambda: spy)
    return shapes


def features(channels, batch=(8,), dtype=torch.float32, spec=SPEC):
    return random_features(
        spec, channels, torch.Generator().manual_seed(0), batch=batch, dtype=dtype
    )


def gradients(layer, feats, create_graph=False):
    """Results, and gradients of features and parameters under random cotangents."""
    inputs = {n: t.detach().clone().requires_grad_() for n, t in feats.items()}
    results = layer(WeightSpaceFeatures(feats.spec, inputs)).values()
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(t.shape, generator=generator).to(t) for t in results]
    wanted = [*inputs.values(), *layer.parameters()]
    grads = torch.autograd.grad(list(results), wanted, cotangents, create_graph=create_graph)
    if create_graph:
        energy = sum(g.square().sum() for g in grads)
        return torch.autograd.grad(energy, wanted, materialize_grads=True)
    return [*results, *grads]


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() + 1e-6


@pytest.mark.parametrize("cls", [NPLinear, HNPLinear])
@pytest.mark.parametrize("batch", [(8,), (2, 3), (32,)], ids=str)
def test_long_products_give_what_plain_ones_give(cls, batch, long_ones, monkeypatch):
    layer, feats = cls(SPEC, 32, 48), features(32, batch)
    found = gradients(layer, feats)
    assert len(long_ones) >= 2
    monkeypatch.setattr(_products, "_linear", lambda: None)
    assert_close(found, gradients(layer, feats))


def test_where_onednn_is_missing_products_are_plain(monkeypatch):
    _products._linear.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    layer, feats = NPLinear(SPEC, 32, 32), features(32)
    found = gradients(layer, feats)
    assert _products._linear() is None
    _products._linear.cache_clear()
    exact = gradients(layer.double(), feats.to(torch.float64))
    assert_close([t.double() for t in found], exact)


def test_second_derivatives_are_those_of_plain_products(long_ones, monkeypatch):
    layer, feats = NPLinear(SPEC, 32, 32), features(32)
    found = gradients(layer, feats, create_graph=True)
    monkeypatch.setattr(_products, "_linear", lambda: None)
    assert_close(found, gradients(layer, feats, create_graph=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_types_take_plain_products(dtype, long_ones):
    gradients(NPLinear(SPEC, 32, 32).to(dtype), features(32, dtype=dtype))
    assert not long_ones


def test_few_columns_and_few_multiplications_take_plain_products(long_ones):
    gradients(NPLinear(SPEC, 4, 4), features(4, (128,)))
    assert all(min(x, columns) >= 8 for *_, x, columns in long_ones)
    long_ones.clear()
    gradients(NPLinear(SPEC, 16, 16), features(16, (2,)))
    assert not long_ones


def test_tensors_without_memory_have_the_same_shapes():
    layer, feats = NPLinear(SPEC, 32, 48), features(32)
    expected = [t.shape for t in gradients(layer, feats)]
    meta = gradients(
        NPLinear(SPEC, 32, 48).to("meta"), feats.like([t.to("meta") for t in feats.values()])
    )
    assert [t.shape for t in meta] == expected
    with FakeTensorMode():
        out = NPLinear(SPEC, 32, 48)(features(32))
    assert [t.shape for t in out.values()] == expected[: len(SPEC.names)]


@pytest.mark.parametrize("cls", [NPLinear, HNPLinear])
def test_whole_registers_of_channels_take_an_empty_batch(cls):
    layer, feats = cls(SPEC, 16, 16), features(16, (0,))
    found = gradients(layer, feats)
    expected = [*feats.values(), *feats.values(), *layer.parameters()]
    assert [t.shape for t in found] == [t.shape for t in expected]
    assert not any(t.any() for t in found)
