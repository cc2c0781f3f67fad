"""Whole networks: equivariant or invariant, trained to something, built from small configs."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import (
    HNPLinear,
    LowRankHNPLinear,
    NPLinear,
    NPPool,
    Pointwise,
    SharedNPLinear,
)
from nfn_optim.networks import (
    NFT,
    EquivariantConfig,
    EquivariantNFN,
    FlatMLP,
    FlatMLPEditor,
    HeadConfig,
    InputConfig,
    InvariantConfig,
    InvariantNFN,
    NFT2Array,
    PermutationAugmented,
    StatNN,
    TransformerConfig,
)
from nfn_optim.testing import (
    assert_equivariant,
    assert_invariant,
    chain_spec,
    chain_specs,
    random_features,
)

INPUTS = InputConfig(channels=2, fourier=4, fourier_scale=0.3, bands=2, max_freq=4)
HEAD = HeadConfig(hidden=(8,), out_features=3)
SMALL = TransformerConfig(INPUTS, channels=8, blocks=2, heads=2, widening=2, latents=3)


def equivariant(layer, **kwargs):
    config = EquivariantConfig(INPUTS, layer, (6, 5), out_channels=2, **kwargs)
    return lambda spec: EquivariantNFN(spec, config)


def invariant(layer, **kwargs):
    config = InvariantConfig(EquivariantConfig(INPUTS, layer, (6, 5)), head=HEAD, **kwargs)
    return lambda spec: InvariantNFN(spec, config)


EQUIVARIANT = {
    "NP": equivariant(NPLinear),
    "HNP": equivariant(HNPLinear, norm=True),
    "low rank": equivariant(LowRankHNPLinear, dropout=0.3),
    "pointwise": equivariant(Pointwise),
    "shared": equivariant(SharedNPLinear),
    "NFT": lambda spec: NFT(spec, SMALL),
}
INVARIANT = {
    "NP": invariant(NPLinear, pool=NPPool),
    "HNP": invariant(HNPLinear),
    "shared": invariant(SharedNPLinear),
    "NFT2Array": lambda spec: NFT2Array(spec, SMALL),
    "StatNN": lambda spec: StatNN(spec, HEAD, channels=2),
}
OTHERS = {
    "FlatMLP": lambda spec: FlatMLP(spec, HEAD, channels=2),
    "FlatMLPEditor": lambda spec: FlatMLPEditor(spec, (8,), channels=2),
}
CNN = chain_spec([2, 3, 4, 3], kernels=[(3, 3), (2, 1), ()], biases=[True, False, True])
few = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def table(entries):
    return pytest.mark.parametrize("build", entries.values(), ids=entries)


@table(EQUIVARIANT)
@given(spec=chain_specs(3))
@few
def test_equivariant_networks_commute_with_permutations(build, spec):
    generator = torch.Generator().manual_seed(0)
    feats = random_features(spec, 2, generator, dtype=torch.float64)
    network = build(spec).double().eval()
    assert_equivariant(network, spec.hnp(), feats, generator, trials=2)


@table(INVARIANT)
@given(spec=chain_specs(3))
@few
def test_invariant_networks_ignore_permutations(build, spec):
    generator = torch.Generator().manual_seed(0)
    feats = random_features(spec, 2, generator, dtype=torch.float64)
    assert_invariant(build(spec).double().eval(), spec.hnp(), feats, generator, trials=2)


def test_an_mlp_on_flat_weights_does_not_ignore_permutations():
    generator = torch.Generator().manual_seed(0)
    feats = random_features(CNN, 2, generator, dtype=torch.float64)
    with pytest.raises(AssertionError, match="not invariant"):
        assert_invariant(OTHERS["FlatMLP"](CNN).double(), CNN.hnp(), feats, generator)


@table(EQUIVARIANT | INVARIANT | OTHERS)
def test_every_weight_gets_a_gradient(build):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = build(CNN).double().eval()
    result = network(random_features(CNN, 2, generator, batch=(4,), dtype=torch.float64))
    tensors = result.values() if isinstance(result, WeightSpaceFeatures) else [result]
    sum((t**2).sum() for t in tensors).backward()
    silent = [name for name, p in network.named_parameters() if not p.grad.abs().sum() > 0]
    assert not silent


@table(EQUIVARIANT | INVARIANT | OTHERS)
def test_networks_read_a_single_network_without_batch(build):
    generator = torch.Generator().manual_seed(0)
    network = build(CNN).double().eval()
    feats = random_features(CNN, 2, generator, batch=(1,), dtype=torch.float64)
    one = network(WeightSpaceFeatures(CNN, {n: t[0] for n, t in feats.items()}))
    both = network(feats)
    if isinstance(one, WeightSpaceFeatures):
        one, both = one["1.weight"], both["1.weight"]
    torch.testing.assert_close(one, both[0])


def test_augmentation_permutes_in_training_only():
    generator = torch.Generator().manual_seed(0)
    feats = random_features(CNN, 2, generator, dtype=torch.float64)
    network = OTHERS["FlatMLP"](CNN).double()
    augmented = PermutationAugmented(network, CNN, generator)
    assert not torch.allclose(augmented(feats), augmented(feats))
    augmented.eval()
    assert torch.equal(augmented(feats), network(feats))


def test_augmentation_numbers_features_back():
    generator = torch.Generator().manual_seed(0)
    feats = random_features(CNN, 2, generator, dtype=torch.float64)
    network = EQUIVARIANT["NP"](CNN).double().eval()
    augmented = PermutationAugmented(network, CNN, generator)
    for name, tensor in augmented(feats).items():
        torch.testing.assert_close(tensor, network(feats)[name])


def test_an_invariant_network_learns_what_an_mlp_cannot_see():
    """A sum over hidden neurons of products of weights along paths: invariant, not linear."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    spec = chain_spec([1, 6, 1])
    feats = random_features(spec, 1, generator, batch=(512,), dtype=torch.float32)
    path = feats["1.weight"][:, 0, :, 0] * feats["0.weight"][:, :, 0, 0]
    target = path.mean(1, keepdim=True)
    layers = EquivariantConfig(hidden=(16, 16))
    network = InvariantNFN(spec, InvariantConfig(layers, head=HeadConfig((16,), 1)))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(150):
        loss = nn.functional.mse_loss(network(feats), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2 * target.var()


def test_configs_are_values():
    assert EquivariantConfig() == EquivariantConfig()
    assert hash(InvariantConfig()) == hash(InvariantConfig())
    assert InvariantNFN(CNN).config == InvariantConfig()
