"""Edits equal what other libraries make of the same image."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from meta_train import run_suite
from meta_train.suites.data import _inrs
from meta_train.suites.data._edits import dilate, equalize, raise_contrast
from meta_train.suites.tasks._inr_editing import edit
from meta_train.tasks import Dataset

# cv2.createCLAHE(clipLimit=1.0, tileGridSize=(3, 3)).apply(GRAY), every third row
GRAY = np.add.outer(8 * np.arange(12), 3 * np.arange(12)) + 60
EQUALIZED = [
    [16, 32, 48, 60, 56, 52, 48, 60, 56, 52, 48, 80],
    [143, 167, 179, 176, 171, 176, 179, 176, 171, 176, 179, 195],
    [128, 159, 175, 179, 176, 179, 175, 179, 176, 179, 175, 207],
    [112, 136, 148, 150, 147, 151, 148, 150, 147, 151, 148, 171],
]
# The same on CIELAB's lightness of COLOR, every fourth pixel
COLOR = np.stack([GRAY, GRAY // 2, 255 - GRAY], axis=-1)
CONTRASTED = [
    [[42, 20, 184], [76, 41, 188], [68, 28, 156]],
    [[117, 69, 189], [150, 94, 197], [170, 107, 192]],
    [[152, 87, 157], [184, 112, 164], [193, 116, 149]],
]


def test_dilation_is_scipys(generator: torch.Generator) -> None:
    images = torch.rand(3, 1, 9, 7, generator=generator)
    expected = ndimage.grey_dilation(images.numpy(), size=(1, 1, 3, 3), mode="nearest")
    assert np.array_equal(dilate(images).numpy(), expected)


def test_equalization_is_opencvs() -> None:
    assert np.abs(equalize(GRAY)[::3] - EQUALIZED).max() <= 1


def test_contrast_is_opencvs_but_for_rounding_of_colors() -> None:
    image = torch.from_numpy(COLOR).permute(2, 0, 1)[None] / 255
    contrasted = raise_contrast(image)[0].permute(1, 2, 0)[::4, ::4] * 255
    assert (contrasted - torch.tensor(CONTRASTED)).abs().max() < 5


def test_sizes_that_tiles_do_not_divide_keep_their_size() -> None:
    assert equalize(np.arange(70).reshape(10, 7)).shape == (10, 7)
    assert raise_contrast(torch.rand(2, 3, 32, 32)).shape == (2, 3, 32, 32)


def test_gray_images_are_dilated_and_color_images_contrasted() -> None:
    gray, color = torch.rand(2, 1, 6, 6), torch.rand(2, 3, 6, 6)
    assert torch.equal(edit(gray), 2 * dilate(gray) - 1)
    assert torch.equal(edit(color), 2 * raise_contrast(color) - 1)


@pytest.mark.parametrize("channels", [2, 4])
def test_images_that_no_edit_is_for_are_refused_before_inrs_are_fitted(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_inrs, "fit_sirens", lambda *_, **__: pytest.fail("fit"))
    images, labels = torch.rand(50, channels, 6, 6), torch.arange(50)
    data = Dataset(images, labels, images, labels)
    with pytest.raises(ValueError, match=f"gray and RGB images.*got {channels}"):
        run_suite("inr-editing", methods=["mlp"], data=data, size="tiny")
