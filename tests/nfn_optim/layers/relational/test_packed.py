"""Packed networks: what layers make of them is what a loop over networks makes."""

import os
import platform
import random
import subprocess
import sys

import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import (
    Map,
    NetworkPool,
    Pack,
    PackedFeatures,
    ResidualBlock,
    SharedNPLinear,
    SharedPointwise,
)
from nfn_optim.layers.relational import _pack
from nfn_optim.networks import (
    EquivariantConfig,
    HeadConfig,
    InputConfig,
    InvariantConfig,
    InvariantNFN,
)
from nfn_optim.symmetry import SpecError, permute, random_permutations
from nfn_optim.testing import chain_spec
from packed_networks import ALL, KINDS, context, drawn

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


SHARED = {"np": SharedNPLinear, "pt": SharedPointwise}


@pytest.fixture(params=SHARED.values(), ids=SHARED)
def layer(request) -> SharedNPLinear | SharedPointwise:
    torch.manual_seed(0)
    return request.param(3, 5, context_channels=2).double()


def close(packed: PackedFeatures, single: list[WeightSpaceFeatures], tolerance: float) -> None:
    for ours, theirs in zip(packed.split(), single, strict=True):
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=0, atol=tolerance, msg=name)


@pytest.fixture(params=[1 << 17, 40], ids=["one block", "many blocks"])
def blocks(request, monkeypatch) -> int:
    """Packs of one block, and of several."""
    _pack._remembered.cache_clear()
    monkeypatch.setattr(_pack, "_ENTRIES", request.param)
    yield request.param
    _pack._remembered.cache_clear()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("specs", [*KINDS.values(), ALL], ids=[*KINDS, "all"])
def test_a_pack_gives_what_a_loop_gives(specs, dtype, layer, blocks):
    feats, layer = drawn(specs, dtype=dtype), layer.to(dtype)
    packed = Pack.of(specs).join(feats)
    assert len(packed.tensors) == 1 or blocks == 40
    given = context(specs, dtype)
    looped = [layer(f, c) for f, c in zip(feats, given, strict=True)]
    close(layer(packed, given), looped, TOLERANCE[dtype])
    pool = NetworkPool()
    pooled = torch.stack([pool(features) for features in looped])
    torch.testing.assert_close(pool(layer(packed, given)), pooled, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("channels", [16, 40])
def test_wide_layers_of_many_entries_give_what_a_loop_gives(channels):
    """Products are of another library there, and added as they are made where channels are few."""
    torch.manual_seed(0)
    specs = [chain_spec([60, 64, 62, 40]), chain_spec([80, 90, 3])]
    layer = SharedNPLinear(channels, channels)
    feats = drawn(specs, channels, torch.float32)
    leaves = [t.requires_grad_() for f in feats for t in f.values()]
    weights = [p for n, p in layer.named_parameters() if n != "taps"]
    looped = [layer(f) for f in feats]
    packed = layer(Pack.of(specs).join(feats))
    close(packed, looped, 1e-5)
    ours, theirs = (
        torch.autograd.grad(
            sum(t.square().mean() for f in each for t in f.values()), [*leaves, *weights]
        )
        for each in (packed.split(), looped)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_gradients_are_those_of_a_loop(layer, blocks):
    feats, given = drawn(ALL), context(ALL)
    leaves = [t.requires_grad_() for f in feats for t in f.values()]
    pool = NetworkPool()
    packed = pool(layer(Pack.of(ALL).join(feats), given))
    looped = torch.stack([pool(layer(f, c)) for f, c in zip(feats, given, strict=True)])
    inputs = [*leaves, *layer.parameters()]
    ours, theirs = (torch.autograd.grad(x.sin().sum(), inputs) for x in (packed, looped))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", SHARED.values(), ids=SHARED)
def test_gradients_are_finite_differences_also_of_gradients(kind):
    torch.manual_seed(0)
    specs = [chain_spec([2, 3, 1]), chain_spec([1, 2], [(2,)])]
    layer, pack = kind(2, 2).double(), Pack.of(specs)
    table = pack.join(drawn(specs, 2)).tensors[0].requires_grad_()

    def run(x, *weights):
        named = dict(zip(dict(layer.named_parameters()), weights, strict=True))
        given = (PackedFeatures(pack, [x.sin()]),)
        return NetworkPool()(torch.func.functional_call(layer, named, given))

    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, (table, *weights))
    assert torch.autograd.gradgradcheck(run, (table, *weights))


@pytest.mark.parametrize("specs", KINDS.values(), ids=KINDS)
def test_each_network_may_be_renumbered_by_itself(specs, layer):
    pack, feats, given = Pack.of(specs), drawn(specs), context(specs)
    generator = torch.Generator().manual_seed(2)
    orders = [random_permutations(spec, generator) for spec in specs]
    moved = [permute(f, order) for f, order in zip(feats, orders, strict=True)]
    last = layer(pack.join(feats), given).split()
    expected = [permute(f, order) for f, order in zip(last, orders, strict=True)]
    close(layer(pack.join(moved), given), expected, 1e-12)


def test_networks_do_not_see_each_other(layer):
    specs = [chain_spec([3, 5, 2]), chain_spec([2, 4, 1])]
    pack, feats, given = Pack.of(specs), drawn(specs), context(specs)
    before = layer(pack.join(feats), given).split()
    after = layer(pack.join([feats[0], feats[1].map(lambda t: t * 2)]), given).split()
    assert all(torch.equal(after[0][n], t) for n, t in before[0].items())
    assert all((after[1][n] - t).abs().max() > 1e-6 for n, t in before[1].items())


def test_a_reader_of_many_layers_gives_what_a_loop_gives():
    torch.manual_seed(0)
    block = ResidualBlock(Map(nn.LayerNorm(4)), SharedNPLinear(4, 4), Map(nn.SiLU()))
    net = nn.Sequential(SharedNPLinear(3, 4), block, NetworkPool(), nn.Linear(16, 2)).double()
    packed = net(Pack.of(ALL).join(drawn(ALL)))
    torch.testing.assert_close(packed, torch.stack([net(f) for f in drawn(ALL)]))


def test_an_invariant_network_of_layers_without_a_spec_reads_packs():
    torch.manual_seed(0)
    layers = EquivariantConfig(InputConfig(channels=3), SharedNPLinear, hidden=(4, 4))
    config = InvariantConfig(layers, pool=lambda spec: NetworkPool(), head=HeadConfig((8,)))
    net = InvariantNFN(ALL[0], config).double()
    packed = net(Pack.of(ALL).join(drawn(ALL)))
    torch.testing.assert_close(packed, torch.stack([net(f) for f in drawn(ALL)]))


def test_split_and_take_undo_join(blocks):
    pack, feats = Pack.of(ALL), drawn(ALL)
    packed = pack.join(feats)
    assert len(packed) == len(ALL)
    close(packed, feats, 0)
    order = random.Random(0).sample(range(len(ALL)), 5)
    close(packed.take(order), [feats[i] for i in order], 0)
    mask = torch.arange(len(ALL)) < 3
    close(packed.take(mask), feats[:3], 0)
    close(packed.take(slice(2, 4)), feats[2:4], 0)


def test_parameters_are_joined_as_modules_store_them():
    modules = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), nn.Linear(3, 2)]
    specs = [NetworkSpec.from_module(module) for module in modules]
    params = [dict(module.named_parameters()) for module in modules]
    for features, given in zip(Pack.of(specs).join_params(params).split(), params, strict=True):
        restored = features.to_params()
        assert all(torch.equal(restored[n], given[n]) for n in given)


def test_packs_are_remembered():
    specs = [chain_spec([3, 5, 2]), chain_spec([3, 4, 2])]
    assert Pack.of(specs) is Pack.of([chain_spec([3, 5, 2]), chain_spec([3, 4, 2])])


ALLOCATE = """
import resource, torch
from nfn_optim.layers import Pack
from nfn_optim.testing import chain_spec

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tables = [torch.ones(20 << 20, dtype=torch.uint8) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

Pack.of([chain_spec([2, 1])])
new_pages()
print(new_pages())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other systems' malloc stays as it is"
)
@pytest.mark.parametrize("own", [{}, {"MALLOC_TRIM_THRESHOLD_": "65536"}])
def test_malloc_keeps_what_large_tables_leave_behind_unless_users_set_it(own):
    command, env = [sys.executable, "-c", ALLOCATE], {**os.environ, **own}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    is_kept = int(done.stdout) < 20_480  # of 40,960 pages: one table in eight may find no room
    assert is_kept == (not own)


def test_mistakes_are_named(layer):
    specs = [chain_spec([3, 5, 2]), chain_spec([3, 4, 2])]
    pack, feats = Pack.of(specs), [dict(f) for f in drawn(specs)]

    def refused(match: str, **changed: torch.Tensor) -> None:
        with pytest.raises(SpecError, match=match):
            pack.join([feats[0], {**feats[1], **changed}])

    wrong = torch.zeros(2, 5, 3, dtype=torch.float64)
    right = feats[1]["1.weight"]
    refused(
        r"network 1 has the shape \(2, 5, 3\) for '1.weight'; .*\(2, 4, 3\)", **{"1.weight": wrong}
    )
    refused(
        "network 1 has '1.weight' in torch.float32 .*torch.float64", **{"1.weight": right.float()}
    )
    refused("network 1 has '1.weight' .* on meta", **{"1.weight": right.to("meta")})
    refused("do not name the same parameters: .'more'", more=right)
    with pytest.raises(SpecError, match="network 1 has no such parameter for '1.bias'"):
        pack.join([feats[0], {("2.bias" if n == "1.bias" else n): t for n, t in feats[1].items()}])
    with pytest.raises(SpecError, match="the pack has 2 networks; got features of 1"):
        pack.join(feats[:1])
    with pytest.raises(SpecError, match="network 0 has no such parameter for '0.weight'"):
        pack.join_params([{}, {}])
    with pytest.raises(SpecError, match="got no networks"):
        Pack.of([])
    with pytest.raises(SpecError, match="got no networks"):
        pack.take([])
    many = NetworkSpec({"core": ("a", "b", "c")}, {"core": (2, 3, 4)})
    with pytest.raises(SpecError, match="network 1 cannot be packed: parameter 'core' runs over 3"):
        Pack.of([specs[0], many])
    empty = NetworkSpec({"0.weight": ("out", "in")}, {"0.weight": (3, 0)})
    with pytest.raises(SpecError, match="network 1 cannot be packed: parameter '0.weight' has no"):
        Pack.of([specs[0], empty])
    with pytest.raises(SpecError, match="network 1 has no descriptors of '0.bias'"):
        layer(pack.join(feats), [context(specs)[0], {"0.weight": torch.zeros(2)}])
    with pytest.raises(SpecError, match="built for 2 descriptors a parameter; forward got none"):
        layer(pack.join(feats))
    with pytest.raises(SpecError, match="built for 1 channels; the features have 3"):
        SharedNPLinear(1, 2)(pack.join(feats))


@pytest.mark.parametrize("layer_type", SHARED.values(), ids=SHARED)
def test_packs_take_autocast(layer_type) -> None:
    torch.manual_seed(0)
    pack = Pack.of(ALL)
    network = nn.Sequential(layer_type(2, 4), layer_type(4, 3))
    feats = pack.join(drawn(ALL, 2, torch.float32))
    expected = network(feats)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(feats)
    for ours, theirs in zip(found.tensors, expected.tensors, strict=True):
        torch.testing.assert_close(ours.to(theirs.dtype), theirs, rtol=0, atol=0.05)
    parameters = [*network.parameters()]
    in_full, in_short = (
        torch.autograd.grad(
            sum(t.float().square().mean() for t in of.tensors), parameters, allow_unused=True
        )
        for of in (expected, found)
    )
    for full, short in zip(in_full, in_short, strict=True):
        torch.testing.assert_close(short, full, rtol=0.05, atol=0.05)
