"""The normal form shows the same image, and is one for all that differ by signs and half turns."""

from math import pi

import torch

from meta_train.suites.data._inr_augment import flip_signs
from meta_train.suites.data._inrs import render
from meta_train.suites.data._normal_form import normal_form
from meta_train.zoo import FieldConfig, siren
from nfn_optim import WeightSpaceFeatures
from nfn_optim.symmetry._permute import permute, random_permutations

OMEGA = 7.0


def inrs(channels: int = 1) -> WeightSpaceFeatures:
    torch.manual_seed(0)
    config = FieldConfig(hidden=(5, 4), omega=OMEGA)
    return WeightSpaceFeatures.from_modules([siren(2, channels, config) for _ in range(6)])


def half_turn(features: WeightSpaceFeatures) -> WeightSpaceFeatures:
    """Turns the phase of every first neuron by half a turn, and reads it with the other sign."""
    bias, second = features.spec.vectors[0], features.spec.weights[1]
    turned = {**features, bias: features[bias] + pi / OMEGA, second: -features[second]}
    return features.like([turned[name] for name in features.spec.names])


def test_images_stay() -> None:
    for channels in (1, 3):
        given = inrs(channels)
        result = normal_form(given, OMEGA)
        torch.testing.assert_close(render(result, (4, 5), OMEGA), render(given, (4, 5), OMEGA))
        assert any(not torch.equal(given[name], result[name]) for name in given)


def test_phases_are_within_a_quarter_turn() -> None:
    result = normal_form(inrs(), OMEGA)
    for name in result.spec.vectors[:-1]:
        assert result[name].abs().max() * OMEGA <= pi / 2 + 1e-5


def test_signs_and_half_turns_do_not_show(generator: torch.Generator) -> None:
    given = inrs()
    expected = normal_form(given, OMEGA)
    for other in (flip_signs(given, generator), half_turn(given)):
        result = normal_form(other, OMEGA)
        for name in given:
            torch.testing.assert_close(result[name], expected[name], atol=1e-5, rtol=1e-4)


def test_the_order_of_neurons_stays_free(generator: torch.Generator) -> None:
    given = inrs()
    permutations = random_permutations(given.spec.hnp(), generator)
    result = normal_form(permute(given, permutations), OMEGA)
    expected = permute(normal_form(given, OMEGA), permutations)
    for name in given:
        torch.testing.assert_close(result[name], expected[name])
