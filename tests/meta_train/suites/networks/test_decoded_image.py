"""The linear decoder finds the images that SIRENs of one start were fitted to in their weights."""

import pytest
import torch
from torch import Tensor

from meta_train.suites.harness import Examples, Interface
from meta_train.suites.networks import DecodedImage
from meta_train.suites.networks._decoded_image import Bfloat16, LinearDecoder, Residual
from meta_train.zoo import FieldConfig, LearnedFit, image_grid, image_values
from nfn_optim import WeightSpaceFeatures
from nfn_optim.testing import assert_invariant

FIELD = FieldConfig(hidden=(12, 12), omega=6.0, num_steps=1, lr=0.1)
SIDE = 4


def fitted(images: Tensor) -> Examples:
    fits = LearnedFit(image_grid(*images.shape[2:]), images.shape[1], FIELD)
    params = fits.fit(image_values(images, 1.0))
    return Examples(WeightSpaceFeatures.from_params(fits.spec, params), images)


def random_images(generator: torch.Generator, *, side: int = SIDE) -> Tensor:
    return torch.rand(300, 2, side, side, generator=generator)


@pytest.fixture
def sirens(generator: torch.Generator) -> Examples:
    return fitted(random_images(generator))


def decoder(sirens: Examples) -> LinearDecoder:
    decode = LinearDecoder(sirens.features.spec, SIDE)
    decode.prepare(sirens)
    return decode


def test_images_come_back_from_weights_that_were_not_seen(sirens: Examples) -> None:
    decode = decoder(sirens.take(slice(200)))
    others = sirens.take(slice(200, None))
    wanted = others.targets - sirens.targets[:200].mean(0)
    error = (decode(others.features) - wanted).square().mean()
    assert error < 0.02 * wanted.square().mean()


def test_images_of_another_size_are_averaged(generator: torch.Generator) -> None:
    images = random_images(generator, side=2 * SIDE)
    sirens = fitted(images)
    averaged = images.unflatten(2, (SIDE, 2)).unflatten(4, (SIDE, 2)).mean((3, 5))
    expected = decoder(Examples(sirens.features, averaged))
    torch.testing.assert_close(decoder(sirens).map, expected.map, atol=1e-3, rtol=1e-3)


def test_a_weight_that_never_changes_says_nothing(sirens: Examples) -> None:
    features = sirens.features
    tensors = [tensor.clone() for tensor in features.values()]
    tensors[0][:, 0] = 3.0
    still = Examples(features.like(tensors), sirens.targets)
    decoded = decoder(still)(still.features)
    assert decoded.isfinite().all()
    assert decoded.abs().max() < 2


def test_the_map_is_kept_with_the_network(sirens: Examples) -> None:
    decode = decoder(sirens)
    again = LinearDecoder(sirens.features.spec, SIDE)
    again.load_state_dict(decode.state_dict())
    assert torch.equal(again(sirens.features), decode(sirens.features))
    assert not list(decode.parameters())


def test_entries_are_told_apart_and_all_parameters_trained(
    sirens: Examples, generator: torch.Generator
) -> None:
    few = sirens.take(slice(5))
    network = DecodedImage(side=8, width=4).build(Interface(few.features.spec, out_features=7))
    logits = network(few.features)
    assert logits.shape == (5, 7)
    assert logits.dtype == torch.float32
    logits.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    with pytest.raises(AssertionError):
        assert_invariant(network.eval(), few.features.spec.hnp(), few.features, generator)


def test_layers_are_run_in_bfloat16_and_what_is_kept_is_not(generator: torch.Generator) -> None:
    layers = Residual(3).eval()
    x = torch.randn(2, 3, 4, 5, generator=generator)
    exact, rounded = layers(x), Bfloat16(layers)(x)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=3e-2, rtol=3e-2)
    assert {parameter.dtype for parameter in layers.parameters()} == {torch.float32}


def test_an_odd_side_is_refused() -> None:
    with pytest.raises(ValueError, match="side must be even.*got 7"):
        DecodedImage(side=7)


@pytest.mark.parametrize("shape", [(300,), (300, 1, SIDE, SIDE)], ids=["labels", "gray"])
def test_what_sirens_were_not_fitted_to_is_refused(
    sirens: Examples, shape: tuple[int, ...]
) -> None:
    others = Examples(sirens.features, torch.zeros(shape))
    with pytest.raises(ValueError, match=r"images .* of shape \(n, 2, h, w\); got .*\(300,"):
        decoder(others)
