"""Readers of images tell of the whole, and of every place what is around it."""

import pytest
import torch

from meta_train.suites.networks import ConvolutionalReader, PixelMLP

SIDE = 5


def test_an_mlp_draws_no_maps(generator: torch.Generator) -> None:
    shown = torch.randn(2, 3, SIDE**2, generator=generator)
    told, maps = PixelMLP().build(3, SIDE, 6)(shown)
    assert told.shape == (2, 6)
    assert maps.shape == (2, 0, SIDE**2)


def test_a_map_sees_the_places_near_to_its_own(generator: torch.Generator) -> None:
    shown = torch.randn(2, 3, SIDE**2, generator=generator)
    network = ConvolutionalReader(widths=(4, 4), maps=2).build(3, SIDE, 6).eval()
    told, maps = network(shown)
    assert told.shape == (2, 6)
    assert maps.shape == (2, 2, SIDE**2)
    other = shown.clone()
    other[..., 0] += 1  # the first place
    seen = (network(other)[1] != maps).any(0).any(0).unflatten(0, (SIDE, SIDE))
    assert seen[:2, :2].all()
    assert not seen[4:].any()  # three convolutions see three places far
    assert not seen[:, 4:].any()


@pytest.mark.parametrize(("widths", "least"), [((4, 4), 2), ((4, 4, 4), 4)])
def test_there_are_places_for_all_convolutions(widths: tuple[int, ...], least: int) -> None:
    reader = ConvolutionalReader(widths)
    told, _ = reader.build(1, least, 3).eval()(torch.zeros(1, 1, least**2))
    assert told.shape == (1, 3)
    with pytest.raises(ValueError, match=f"at least {least} places .* got {least - 1}"):
        reader.build(1, least - 1, 3)


def test_one_convolution_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two widths"):
        ConvolutionalReader((4,))
