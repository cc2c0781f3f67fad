"""Networks that read SIRENs keep the symmetry, tell inputs apart, and begin with a sine."""

import pytest
import torch

from meta_train.suites.harness import Interface, Method
from meta_train.suites.networks import Equivariant, Places, SirenPass
from meta_train.suites.networks._positions import ChannelPerPosition
from nfn_optim.layers import HNPLinear, NPLinear
from nfn_optim.networks import EquivariantConfig, HeadConfig
from nfn_optim.testing import assert_equivariant, assert_invariant, chain_spec, random_features

SPEC = chain_spec((2, 4, 5, 3))
PLACES = Places(side=3, span=0.9, omega=2.0)


def then(layer: type[NPLinear | HNPLinear], hidden: tuple[int, ...]) -> Equivariant:
    return Equivariant(EquivariantConfig(layer=layer, hidden=hidden), HeadConfig((8,)))


every_method = pytest.mark.parametrize(
    "method",
    [
        SirenPass(PLACES, then(NPLinear, (6,)), per_position=True),
        SirenPass(PLACES, then(HNPLinear, (6,))),
        SirenPass(PLACES, then(NPLinear, ()), per_position=True),
        SirenPass(PLACES, then(HNPLinear, ())),
    ],
    ids=["np deep", "hnp deep", "np", "hnp"],
)


@every_method
def test_networks_commute_with_renumbering_or_ignore_it(
    method: Method, generator: torch.Generator
) -> None:
    feats = random_features(SPEC, 1, generator, dtype=torch.float64)
    editor = method.build(Interface(SPEC)).double().eval()
    assert_equivariant(editor, SPEC.hnp(), feats, generator)
    classifier = method.build(Interface(SPEC, 10)).double().eval()
    assert_invariant(classifier, SPEC.hnp(), feats, generator)


@every_method
def test_inputs_and_outputs_are_told_apart(method: Method, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    feats = random_features(SPEC, 1, generator, dtype=torch.float64)
    network = method.build(Interface(SPEC, 10)).double().eval()
    first, last = SPEC.weights[0], SPEC.weights[-1]
    inputs, outputs = feats[first].flip(-2), feats[last].flip(-3)
    for name, swapped in ((first, inputs), (last, outputs)):
        other = feats.like([{**feats, name: swapped}[n] for n in feats])
        assert not torch.allclose(network(feats), network(other))


def test_an_average_over_positions_keeps_every_one(generator: torch.Generator) -> None:
    feats = random_features(SPEC, 2, generator, dtype=torch.float64)
    spread = ChannelPerPosition(SPEC)
    result = spread(feats)
    assert result.channels == spread.out_channels(2) == 6
    first, hidden, last = SPEC.weights
    by_input = result[first].mean(-2).unflatten(-1, (2, 3))  # (n, h, c, position)
    torch.testing.assert_close(by_input[..., :2], feats[first].mT)
    assert not by_input[..., 2].any()
    by_output = result[last].mean(-3).unflatten(-1, (2, 3))
    torch.testing.assert_close(by_output, feats[last].movedim(-3, -1))
    torch.testing.assert_close(result[hidden].unflatten(-1, (2, 3))[..., 0], feats[hidden])
