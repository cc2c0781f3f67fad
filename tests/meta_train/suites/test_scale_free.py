"""Networks that differ by a scale alone look alike, but for one number."""

import math

import torch

from meta_train.suites._scale_free import ScaleFree
from nfn_optim.testing import assert_equivariant, chain_spec, random_features

SPEC = chain_spec((3, 4, 2))


def test_a_scale_changes_only_the_channel_that_tells_it(generator: torch.Generator) -> None:
    features = random_features(SPEC, 1, generator, batch=(5,), dtype=torch.float32)
    plain, larger = ScaleFree()(features), ScaleFree()(features.map(lambda t: 20 * t))
    for name in features:
        assert plain[name].shape == (*features[name].shape[:-1], 2)
        torch.testing.assert_close(larger[name][..., 0], plain[name][..., 0])
        torch.testing.assert_close(larger[name][..., 1], plain[name][..., 1] + math.log(20))


def test_entries_have_a_mean_square_of_one(generator: torch.Generator) -> None:
    features = random_features(SPEC, 1, generator, batch=(5,), dtype=torch.float32)
    for tensor in ScaleFree()(features).values():
        torch.testing.assert_close(tensor[..., 0].square().flatten(1).mean(1), torch.ones(5))


def test_scale_free_features_commute_with_permutations(generator: torch.Generator) -> None:
    features = random_features(SPEC, 1, generator, batch=(2,))
    assert_equivariant(ScaleFree(), SPEC.np(), features, generator)
