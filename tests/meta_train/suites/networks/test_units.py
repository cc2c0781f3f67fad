"""Weights in units that networks of different scales can be compared in."""

import math

import pytest
import torch

from meta_train.suites.networks._units import Units
from nfn_optim.testing import assert_equivariant, chain_spec, random_features

SPEC = chain_spec((3, 4, 2))


def test_a_scale_changes_a_channel_that_tells_it_and_the_one_in_common_units(
    generator: torch.Generator,
) -> None:
    features = random_features(SPEC, 1, generator, batch=(5,), dtype=torch.float32)
    plain, larger = Units()(features), Units()(features.map(lambda t: 20 * t))
    for name in features:
        assert plain[name].shape == (*features[name].shape[:-1], 3)
        torch.testing.assert_close(larger[name][..., 0], plain[name][..., 0])
        torch.testing.assert_close(larger[name][..., 1], plain[name][..., 1] + math.log(20))
        torch.testing.assert_close(larger[name][..., 2].sinh(), 20 * plain[name][..., 2].sinh())


def test_entries_have_a_mean_square_of_one(generator: torch.Generator) -> None:
    features = random_features(SPEC, 1, generator, batch=(5,), dtype=torch.float32)
    for tensor in Units()(features).values():
        torch.testing.assert_close(tensor[..., 0].square().flatten(1).mean(1), torch.ones(5))


@pytest.mark.parametrize(("name", "fan_in"), [("0.weight", 3), ("1.weight", 4), ("0.bias", 1)])
def test_common_units_are_those_that_keep_a_signal_s_size(
    name: str, fan_in: int, generator: torch.Generator
) -> None:
    features = random_features(SPEC, 1, generator, batch=(5,), dtype=torch.float32)
    expected = (features[name] * math.sqrt(fan_in)).asinh()[..., 0]
    torch.testing.assert_close(Units()(features)[name][..., 2], expected)


def test_units_commute_with_permutations(generator: torch.Generator) -> None:
    features = random_features(SPEC, 1, generator, batch=(2,), dtype=torch.float64)
    assert_equivariant(Units(), SPEC.np(), features, generator)
