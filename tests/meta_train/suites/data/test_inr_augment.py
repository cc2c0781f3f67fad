"""Augmented INRs show the same image, or the image moved as it should be."""

import torch
from torch import Tensor

from meta_train.suites.data._inr_augment import INRAugmentation, flip_signs, mirror, move
from meta_train.suites.data._inrs import render
from meta_train.suites.data._normal_form import normal_form
from meta_train.suites.harness._examples import Examples
from meta_train.support import fingerprint
from meta_train.zoo import FieldConfig, evaluate_fields, image_grid, siren
from nfn_optim import WeightSpaceFeatures

FIELD = FieldConfig(hidden=(5, 4), omega=3.0)


def inrs(n: int) -> WeightSpaceFeatures:
    torch.manual_seed(0)
    return WeightSpaceFeatures.from_modules([siren(2, 1, FIELD) for _ in range(n)])


def values(features: WeightSpaceFeatures, points: Tensor) -> Tensor:
    params = {name: tensor.squeeze(-1) for name, tensor in features.items()}
    return evaluate_fields(params, points, FIELD.omega)


def test_flipping_signs_changes_weights_but_not_images(generator: torch.Generator) -> None:
    features = inrs(6)
    flipped = flip_signs(features, generator)
    assert all(not torch.equal(features[n], flipped[n]) for n in list(features)[:-1])
    assert all(torch.equal(features[n].abs(), flipped[n].abs()) for n in features)
    torch.testing.assert_close(render(flipped, (4, 5), 3.0), render(features, (4, 5), 3.0))


def test_moving_is_a_linear_map_of_coordinates(generator: torch.Generator) -> None:
    features, points = inrs(3), image_grid(4, 4)
    moved = values(move(features, 0.2, 0.3, generator), points)
    generator.manual_seed(0)
    linear = torch.eye(2) + 0.2 * torch.randn(3, 2, 2, generator=generator)
    shift = 0.3 * torch.randn(3, 2, 1, generator=generator)
    elsewhere = (linear @ points.T + shift).mT  # (n, points, 2)
    torch.testing.assert_close(moved, values(features, elsewhere))


def test_half_of_the_images_are_mirrored_left_to_right(generator: torch.Generator) -> None:
    features = inrs(40)
    shown = render(mirror(features, generator), (4, 5), FIELD.omega)
    before = render(features, (4, 5), FIELD.omega)
    kept, mirrored = (
        (shown - images).flatten(1).abs().amax(1) < 1e-5 for images in (before, before.flip(-1))
    )
    assert torch.equal(kept, ~mirrored)
    assert 10 < int(mirrored.sum()) < 30


def test_networks_are_augmented_each_on_its_own(generator: torch.Generator) -> None:
    one = inrs(1).map(lambda t: t.expand(8, *t.shape[1:]))
    result = INRAugmentation(linear=0.1, shift=0.1)(Examples(one, torch.arange(8)), generator)
    assert torch.equal(result.targets, torch.arange(8))
    names = list(result.features)
    for name, tensor in result.features.items():  # signs of outputs stay
        several = len(tensor.unique(dim=0))
        assert several == 1 if name == names[-1] else several == 8, name


def test_moved_networks_come_in_normal_form(generator: torch.Generator) -> None:
    given = Examples(inrs(3), torch.arange(3))
    moved = INRAugmentation(shift=0.5, omega=FIELD.omega)(given, generator).features
    assert not torch.allclose(moved["0.bias"], given.features["0.bias"])
    again = normal_form(moved, FIELD.omega)
    for name in moved:
        torch.testing.assert_close(moved[name], again[name])


def test_no_augmentation_changes_nothing(generator: torch.Generator) -> None:
    given = Examples(inrs(2), torch.arange(2))
    assert fingerprint(INRAugmentation(flip=False)(given, generator)) == fingerprint(given)


def test_images_are_rendered_row_by_row() -> None:
    features = inrs(2)
    images = render(features, (4, 5), 3.0)
    assert images.shape == (2, 1, 4, 5)
    top_right = values(features, torch.tensor([[-1.0, 1.0]]))
    torch.testing.assert_close(images[:, :, 0, -1], top_right[:, 0])
