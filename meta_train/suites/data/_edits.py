"""Edits of images, as OpenCV makes them: what an edited INR should show.

Shape legend: `n` images of `c` channels, `h` rows and `w` columns, values in [0, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_TILES = 3
_BINS = 256
_RGB_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = _RGB_TO_XYZ.sum(1, keepdims=True)  # D65
_XYZ_TO_LAB = np.array([[0, 116, 0], [500, -500, 0], [0, 200, -200]])
_LAB_OFFSET = np.array([-16, 0, 0])


def dilate(images: Tensor) -> Tensor:
    """Every pixel becomes the brightest of its 3x3 neighborhood: `cv2.dilate`, a kernel of ones."""
    return F.max_pool2d(images, 3, stride=1, padding=1)


def raise_contrast(images: Tensor) -> Tensor:
    """Equalizes the lightness of color images in tiles: `cv2.createCLAHE(1.0, (3, 3))` on CIELAB.

    Lightness has 8 bits as in OpenCV; color is not rounded.

    Args:
        images: Color images `(n, 3, h, w)`.
    """
    edited = [_equalize_color(image) for image in images.numpy().transpose(0, 2, 3, 1)]
    return torch.from_numpy(np.stack(edited).transpose(0, 3, 1, 2).copy()).to(images.dtype)


def _equalize_color(image: np.ndarray) -> np.ndarray:
    lab = _to_lab(image.astype(np.float64))
    lab[..., 0] = equalize(_lightness(image)) / 2.55
    return np.clip(_from_lab(lab), 0, 1)


def equalize(gray: np.ndarray) -> np.ndarray:
    """Contrast-limited adaptive histogram equalization in 3x3 tiles with clip limit 1.

    Each tile has a table from its own histogram; a pixel interpolates the tables of the four tiles
    nearest to it.

    Args:
        gray: Integers `(h, w)` from 0 to 255.
    """
    height, width = gray.shape
    pad = [(0, -size % _TILES) for size in gray.shape]
    padded = np.pad(gray, pad, mode="reflect")
    rows, columns = (size // _TILES for size in padded.shape)
    tiles = padded.reshape(_TILES, rows, _TILES, columns).swapaxes(1, 2)
    tables = np.array([[_table(tile) for tile in line] for line in tiles])  # (tiles, tiles, bins)
    top, bottom, down = _neighbors(height, rows)
    left, right, along = _neighbors(width, columns)
    down, along = down[:, None], along[None]

    def mapped(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return tables[row[:, None], column[None], gray]

    upper = (1 - along) * mapped(top, left) + along * mapped(top, right)
    lower = (1 - along) * mapped(bottom, left) + along * mapped(bottom, right)
    return np.rint((1 - down) * upper + down * lower)


def _table(tile: np.ndarray) -> np.ndarray:
    """Where a tile's equalization sends each gray value."""
    histogram = np.bincount(tile.reshape(-1), minlength=_BINS)
    limit = max(1, tile.size // _BINS)
    excess = int((histogram - limit).clip(0).sum())
    histogram = histogram.clip(max=limit) + excess // _BINS
    rest = excess % _BINS
    if rest:
        histogram[:: max(1, _BINS // rest)][:rest] += 1
    return np.rint(histogram.cumsum() * (_BINS - 1) / tile.size).clip(0, _BINS - 1)


def _neighbors(size: int, tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every pixel the tile centers before and after it, and how far it is from the first."""
    position = np.arange(size) / tile - 0.5
    first = np.floor(position).astype(np.int64)
    return first.clip(0), (first + 1).clip(max=_TILES - 1), position - first


def _lightness(rgb: np.ndarray) -> np.ndarray:
    """Lightness from 0 to 255 in OpenCV's integers: equalization multiplies differences."""
    linear = np.rint(8 * 255 * _linear(np.rint(255.0 * rgb) / 255)).astype(np.int64)
    luminance = (linear @ np.rint(_RGB_TO_XYZ[1] * 4096).astype(np.int64) + 2048) >> 12
    roots = np.rint(32768 * _root(luminance / (8 * 255))).astype(np.int64)
    return (296 * roots - (16 * 255 * 32768 + 50) // 100 + 16384) >> 15


def _linear(rgb: np.ndarray) -> np.ndarray:
    """Amounts of light of sRGB's values."""
    return np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def _root(light: np.ndarray) -> np.ndarray:
    return np.where(light > 0.008856, np.cbrt(light), 7.787 * light + 16 / 116)


def _to_lab(rgb: np.ndarray) -> np.ndarray:
    return _root(_linear(rgb) @ (_RGB_TO_XYZ / _WHITE).T) @ _XYZ_TO_LAB.T + _LAB_OFFSET


def _from_lab(lab: np.ndarray) -> np.ndarray:
    roots = (lab - _LAB_OFFSET) @ np.linalg.inv(_XYZ_TO_LAB).T
    xyz = np.where(roots > 0.206893, roots**3, (roots - 16 / 116) / 7.787)
    linear = (xyz @ np.linalg.inv(_RGB_TO_XYZ / _WHITE).T).clip(0)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, linear * 12.92)
