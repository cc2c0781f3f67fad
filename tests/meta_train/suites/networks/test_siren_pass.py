"""NF-Layers that start as a SIREN's forward pass make its image, gate by gate."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from meta_train.suites.harness import (
    Examples,
    FitConfig,
    Interface,
    Objective,
    Raw,
    Supervised,
)
from meta_train.suites.networks import Equivariant, Places, SirenPass
from meta_train.suites.networks._sine_gate import SineGate
from meta_train.suites.networks._siren_pass import PassStart
from meta_train.zoo import FieldConfig, evaluate_fields, siren
from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import HNPLinear, HNPPool, NPLinear
from nfn_optim.networks import EquivariantConfig
from nfn_optim.testing import random_features

PLACES = Places(side=3, span=0.8, omega=3.0)
both = pytest.mark.parametrize(
    "method",
    [
        SirenPass(PLACES, Equivariant(EquivariantConfig(layer=layer, hidden=())), layer is NPLinear)
        for layer in (NPLinear, HNPLinear)
    ],
    ids=["np", "hnp"],
)


def spec_of(hidden: tuple[int, ...], channels: int) -> NetworkSpec:
    return NetworkSpec.from_module(siren(2, channels, FieldConfig(hidden=hidden)))


def shown(feats: WeightSpaceFeatures) -> Tensor:
    """What SIRENs show at the places, `(n, places, c)`."""
    params = {name: tensor.squeeze(-1) for name, tensor in feats.items()}
    return evaluate_fields(params, PLACES.grid(2).mT.double(), PLACES.omega)


def pooled(network: nn.Module, feats: WeightSpaceFeatures) -> Tensor:
    """What the pool makes of the last weight and bias together, `(n, places, c)`."""
    *layers, reader = network.double().eval()
    features = HNPPool(feats.spec)(nn.Sequential(*layers, reader.encoder)(feats))
    by_column = features.unflatten(-1, (-1, 9))
    outputs = feats[feats.spec.vectors[-1]].shape[1]
    weight, bias = (by_column[:, -2 * outputs :]).unflatten(1, (2, outputs)).unbind(1)
    return (weight + bias).mT


@both
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("hidden", [(4,), (4, 5), (4, 5, 3)], ids=str)
def test_pooled_features_start_as_the_siren_at_the_places(
    method: SirenPass, hidden: tuple[int, ...], channels: int, generator: torch.Generator
) -> None:
    spec = spec_of(hidden, channels)
    feats = random_features(spec, 1, generator, batch=(4,), dtype=torch.float64)
    result, expected = pooled(method.build(Interface(spec, 10)), feats), shown(feats)
    assert expected.std() > 0.1
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-6)


@both
def test_a_network_that_was_trained_is_no_longer_bound_to_the_pass(
    method: SirenPass, generator: torch.Generator
) -> None:
    spec = spec_of((4, 5), 1)
    feats = random_features(spec, 1, generator, batch=(4,), dtype=torch.float64)
    network = method.build(Interface(spec, 10)).double()
    network(feats).square().sum().backward()
    layers = [module for module in network if hasattr(module, "blocks")]
    assert len(layers) == 2
    assert all(weight.grad.abs().sum() > 0 for layer in layers for weight in layer.weights)
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert not torch.allclose(pooled(network, feats), shown(feats), atol=1e-3)


def test_what_the_pass_does_not_need_starts_small_and_not_at_zero() -> None:
    spec = spec_of((40, 50), 1)
    layer = HNPLinear(spec, 1, 18, init=PassStart(spec, 0, PLACES.grid(2)))
    for block in layer.blocks():
        if block.target == spec.weights[0]:
            assert 0 < block.weight.abs().mean() < 0.05


def test_places_are_a_grid() -> None:
    grid = Places(side=3, span=0.5, omega=1.0).grid(2)
    lines = [-0.5, 0.0, 0.5]
    assert grid.mT.tolist() == [[row, column] for row in lines for column in lines]


def test_a_gate_multiplies_the_sine_of_one_half_by_the_other(generator: torch.Generator) -> None:
    x = torch.randn(3, 8, generator=generator)
    torch.testing.assert_close(SineGate()(x), torch.sin(x[:, :4]) * x[:, 4:])


@pytest.mark.parametrize("raw", [True, False])
def test_only_raw_networks_read_weights_as_they_are(raw: bool, generator: torch.Generator) -> None:
    spec = spec_of((4,), 1)
    feats = random_features(spec, 1, generator, batch=(6,))
    examples = Examples(feats, torch.zeros(6))
    seen = []

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(()))

        def forward(self, feats: WeightSpaceFeatures) -> Tensor:
            seen.append(feats)
            return self.bias + HNPPool(spec)(feats).sum(-1)

    network = Raw(Reader()) if raw else Reader()
    objective = Objective(nn.functional.mse_loss, lambda a, b: 0.0)
    config = replace(FitConfig(num_steps=1), batch_size=6)
    Supervised(examples, examples, examples, objective, config).run(network, 0, lambda *_: None)
    same = [torch.equal(seen[-1][name], feats[name]) for name in feats]
    assert all(same) if raw else not any(same)
