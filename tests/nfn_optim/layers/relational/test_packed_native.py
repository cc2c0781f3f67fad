"""`SharedNPLinear` on packs in native code: values and gradients are those of torch operations."""

import pytest
import torch

from nfn_optim.layers import Pack, PackedFeatures, SharedNPLinear
from nfn_optim.layers.relational import _pack, _packed_linear
from nfn_optim.native import packed as native
from nfn_optim.testing import chain_spec
from packed_networks import ALL, KINDS, context, drawn

pytestmark = pytest.mark.usefixtures("native_packed")
FLOAT = torch.float32


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Names of native functions that are called."""
    names: list[str] = []
    call = native.LIBRARY.call

    def listen(name: str, *arguments: object) -> None:
        names.append(name)
        call(name, *arguments)

    monkeypatch.setattr(native.LIBRARY, "call", listen)
    return names


@pytest.fixture
def by_torch(monkeypatch):
    """Runs a function without native code."""

    def run(function):
        with monkeypatch.context() as patch:
            patch.setattr(_packed_linear, "_can_be_native", lambda *_: False)
            return function()

    return run


def built(ins: int, outs: int, described: int = 0) -> SharedNPLinear:
    torch.manual_seed(0)
    layer = SharedNPLinear(ins, outs, described)
    torch.nn.init.normal_(layer.bias)
    return layer


def close(ours, theirs, tolerance: float = 2e-5) -> None:
    """To some rounding errors of the largest entry."""
    for a, b in zip(ours, theirs, strict=True):
        largest = float(b.detach().abs().max())
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * max(1, largest))


@pytest.mark.parametrize("entries", [1 << 17, 40], ids=["one block", "many blocks"])
@pytest.mark.parametrize("channels", [(3, 5), (1, 16), (16, 1), (33, 18)])
@pytest.mark.parametrize("specs", [*KINDS.values(), ALL], ids=[*KINDS, "all"])
def test_values_and_gradients_are_those_of_torch(
    specs, channels, entries, monkeypatch, calls, by_torch
):
    monkeypatch.setattr(_pack, "_ENTRIES", entries)
    _pack._remembered.cache_clear()
    layer = built(*channels, described=2)
    pack = Pack.of(specs)
    feats = pack.join(drawn(specs, channels[0], FLOAT)).map(lambda t: t.requires_grad_())
    described = context(specs, FLOAT)
    for each in described:
        for tensor in each.values():
            tensor.requires_grad_()
    leaves = [*feats.values(), *layer.parameters(), *(t for d in described for t in d.values())]

    def run():
        values = layer(feats, described).values()
        loss = sum(value.sin().sum() for value in values)
        return [*values, *torch.autograd.grad(loss, leaves, materialize_grads=True)]

    ours = run()
    assert calls == ["nfn_packed", "nfn_packed_back"]
    theirs = by_torch(run)
    assert len(calls) == 2
    close(ours, theirs)
    _pack._remembered.cache_clear()


def features(specs=ALL, channels: int = 3, dtype: torch.dtype = FLOAT) -> PackedFeatures:
    return Pack.of(specs).join(drawn(specs, channels, dtype))


def test_gradients_have_gradients(calls, by_torch):
    layer, feats = built(3, 4), features()
    x = feats.tensors[0].requires_grad_()

    def run():
        y = layer(feats.like([x.sin()])).tensors[0]
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        assert "nfn_packed_back" not in calls  # this way back is torch's
        return torch.autograd.grad(first.square().sum(), [x, *layer.parameters()])

    ours = run()
    assert calls[:1] == ["nfn_packed"]
    calls.clear()
    close(ours, by_torch(run), 1e-4)


def test_gradients_of_gradients_of_a_layer_that_reads_its_own_results(by_torch):
    layer, feats = built(3, 3), features()

    def run():
        y = layer(layer(feats).map(torch.sin)).tensors[0]
        weights = [*layer.parameters()]
        first = torch.autograd.grad(y.square().mean(), weights, create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), weights)]

    close(run(), by_torch(run), 1e-4)


def test_only_what_is_asked_for_has_a_gradient(calls, by_torch):
    layer, feats = built(3, 4).requires_grad_(False), features()
    layer.own.requires_grad_()
    x = feats.tensors[0]

    def run():
        layer.own.grad = None
        layer(feats).tensors[0].sin().sum().backward()
        return [layer.own.grad]

    ours = run()
    assert calls == ["nfn_packed", "nfn_packed_back"]
    close(ours, by_torch(run))
    layer.own.requires_grad_(False)
    x.requires_grad_()
    assert layer(feats).tensors[0].requires_grad
    with torch.no_grad():
        assert not layer(feats).tensors[0].requires_grad


def test_the_way_back_may_be_taken_twice():
    layer, feats = built(3, 4), features()
    loss = layer(feats).tensors[0].sin().sum()
    first, second = (
        torch.autograd.grad(loss, [*layer.parameters()], retain_graph=True) for _ in range(2)
    )
    assert all(map(torch.equal, first, second))


def test_weights_that_changed_meanwhile_are_noticed():
    layer, feats = built(3, 4), features()
    for weight in (layer.entry, layer.own):
        loss = layer(feats).tensors[0].sin().sum()
        with torch.no_grad():
            weight.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_tables_may_lie_in_memory_as_they_like(by_torch):
    layer, feats = built(3, 4), features()
    turned = feats.map(lambda t: t.t().contiguous().t())
    assert not turned.tensors[0].is_contiguous()
    close(layer(turned).values(), layer(feats).values(), 0)
    close(layer(turned).values(), by_torch(lambda: layer(feats)).values())


def test_the_rest_is_torchs(calls, monkeypatch):
    layer = built(3, 4)
    layer.double()(features(dtype=torch.float64))
    layer.float()
    monkeypatch.setattr(type(native.LIBRARY), "can_load", lambda self: False)
    layer(features([chain_spec([3, 5, 2])]))
    assert not calls


@pytest.fixture
def double_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(FLOAT)


@pytest.mark.usefixtures("double_by_default")
def test_another_type_by_default_changes_nothing(calls, by_torch):
    layer, feats = built(3, 4).float(), features()

    def run():
        y = layer(feats).tensors[0]
        return [y, *torch.autograd.grad(y.square().sum(), layer.parameters())]

    ours = run()
    assert calls == ["nfn_packed", "nfn_packed_back"]
    assert {tensor.dtype for tensor in ours} == {FLOAT}
    close(ours, by_torch(run))


def test_another_device_by_default_changes_nothing():
    layer, drawn_here = built(3, 4), drawn(ALL, 3, FLOAT)
    expected = layer(Pack.of(ALL).join(drawn_here).take([0, 1]))
    _pack._remembered.cache_clear()
    _pack.links_of.cache_clear()
    with torch.device("meta"):
        found = layer(Pack.of(ALL).join(drawn_here).take([0, 1]))
    assert all(map(torch.equal, found.tensors, expected.tensors))
