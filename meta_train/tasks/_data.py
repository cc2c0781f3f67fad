"""Image data sets, read when asked for: digits ship with scikit-learn, others come from files.

Shape legend: `n` images of `c` channels, `h` rows and `w` columns.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nfn_optim.cache import cache_folder

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_NUM_CLASSES = 10
_ELSEWHERE = "NFN_CACHE may name another folder for data that is downloaded."


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split into training and test data.

    Args:
        x_train: Training images, float32 in [0, 1], `(n, c, h, w)`.
        y_train: Their labels, int64, `(n,)`.
        x_test: Test images, like `x_train`.
        y_test: Their labels.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def shuffled(self, seed: int) -> Dataset:
        """The same in an order of the seed, so that the first samples are a random part."""
        generator = torch.Generator().manual_seed(seed)
        train, test = (
            torch.randperm(len(y), generator=generator) for y in (self.y_train, self.y_test)
        )
        return Dataset(
            self.x_train[train], self.y_train[train], self.x_test[test], self.y_test[test]
        )


@dataclass(frozen=True)
class _Source:
    """Where OpenML keeps a data set, and what it must look like."""

    openml: int
    image: tuple[int, int, int]  # (c, h, w)
    num_train: int  # the first rows are the official training data

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of one image in a file: one channel goes without saying."""
        return self.image[1:] if self.image[0] == 1 else self.image


_SOURCES = {
    "mnist": _Source(554, (1, 28, 28), 60_000),
    "fashion_mnist": _Source(40996, (1, 28, 28), 60_000),
    "cifar10": _Source(40927, (3, 32, 32), 50_000),
    "svhn": _Source(41081, (3, 32, 32), 73_257),
}


def load_data(name: str) -> Dataset:
    """Loads a data set by name: digits, mnist, fashion_mnist, cifar10 or svhn.

    Digits (1,797 images of 8x8) are embedded in scikit-learn; 360 of them, every class in
    proportion, are held out by a fixed seed. The others are read from `$NFN_DATA/<name>.npz`, else
    from `$NFN_CACHE` (`~/.cache/nfn_optim` without), else downloaded from OpenML into that folder.
    A file holds uint8 arrays `x_train`, `y_train`, `x_test` and
    `y_test`. Within a process everything is read once; treat the tensors as read-only.

    Args:
        name: Which data set.

    Raises:
        ValueError: If there is no such data set, or its file is damaged or laid out differently.
        FileNotFoundError: If there is no file and OpenML cannot be reached.

    Example:
        >>> digits = load_data("digits")
        >>> digits.x_train.shape, digits.x_test.shape
        (torch.Size([1437, 1, 8, 8]), torch.Size([360, 1, 8, 8]))
    """
    if name == "digits":
        return _digits()
    if name not in _SOURCES:
        known = ", ".join(["digits", *_SOURCES])
        raise ValueError(f"there is no data set {name!r}. Choose one of {known}.")
    kept = cache_folder() / f"{name}.npz"
    for folder in _folders():
        path = folder / f"{name}.npz"
        if path.is_file() and path != kept:
            return _read(path, name)
    return _from_cache(kept, name)


@cache
def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        images.reshape(-1, 1, 8, 8), labels, test_size=360, random_state=0, stratify=labels
    )
    return _dataset((x_train, y_train, x_test, y_test), brightest=16)


def _from_cache(path: Path, name: str) -> Dataset:
    """From the user's cache; what is not there, or is damaged, is downloaded."""
    damage: ValueError | None = None
    if path.is_file():
        try:
            return _read(path, name)
        except ValueError as error:
            damage = error
    try:
        return _read(_download(name), name)
    except FileNotFoundError as error:
        if damage is not None:
            raise ValueError(f"{damage} {_ELSEWHERE}") from error
        raise


@cache
def _read(path: Path, name: str) -> Dataset:
    if not zipfile.is_zipfile(path):
        raise _invalid(path, name, "is truncated or no .npz archive")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in _KEYS if key in archive}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _invalid(path, name, f"is damaged ({error})") from error
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise _invalid(path, name, f"has no array {', '.join(missing)}")
    for part in ("train", "test"):
        problem = _problem(arrays[f"x_{part}"], arrays[f"y_{part}"], _SOURCES[name].stored)
        if problem:
            raise _invalid(path, name, f"has a wrong {part} part: {problem}")
    channels, height, width = _SOURCES[name].image
    for key in ("x_train", "x_test"):
        arrays[key] = arrays[key].reshape(-1, channels, height, width)
    return _dataset(tuple(arrays[key] for key in _KEYS), brightest=255)


def _problem(images: np.ndarray, labels: np.ndarray, stored: tuple[int, ...]) -> str:
    """What is wrong with images and labels; nothing is the empty string."""
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        return f"images are {images.dtype} and labels {labels.dtype}, not both uint8"
    if images.shape[1:] != stored:
        return f"images have the shape {images.shape}"
    if len(images) == 0 or labels.shape != (len(images),):
        return f"labels have the shape {labels.shape} beside {len(images)} images"
    if labels.max() >= _NUM_CLASSES:
        return f"labels go up to {labels.max()}"
    return ""


def _dataset(arrays: Sequence[np.ndarray], *, brightest: int) -> Dataset:
    x_train, y_train, x_test, y_test = map(torch.from_numpy, arrays)
    return Dataset(
        x_train.float() / brightest, y_train.long(), x_test.float() / brightest, y_test.long()
    )


def _folders() -> list[Path]:
    chosen = os.environ.get("NFN_DATA")
    return [Path(chosen), cache_folder()] if chosen else [cache_folder()]


def _layout(name: str) -> str:
    images = ", ".join(map(str, ("n", *_SOURCES[name].stored)))
    return (
        f"x_train and x_test, uint8 images of the shape ({images}), and y_train and y_test, uint8 "
        f"labels 0 to {_NUM_CLASSES - 1} of the shape (n,)"
    )


def _invalid(path: Path, name: str, problem: str) -> ValueError:
    return ValueError(
        f"{path} {problem}. Expected {_layout(name)}, written by numpy.savez_compressed. "
        "Replace the file, or delete it so that the data is downloaded."
    )


def _download(name: str) -> Path:
    """Fetches a data set from OpenML and keeps it in the user's cache as a file like any other."""
    from rich.console import Console
    from sklearn.datasets import fetch_openml

    path = cache_folder() / f"{name}.npz"
    _check_folder(path.parent)
    status = f"Downloading {name} from OpenML into {path} (once; some minutes)"
    try:
        with Console(stderr=True).status(status):
            rows, labels = fetch_openml(
                data_id=_SOURCES[name].openml,
                as_frame=False,
                return_X_y=True,
                cache=False,
                parser="liac-arff",
            )
    except OSError as error:
        wanted = " or ".join(str(folder / f"{name}.npz") for folder in _folders())
        raise FileNotFoundError(
            f"data set {name!r} is not on this machine and OpenML cannot be reached ({error}). "
            f"Put it at {wanted}, or point NFN_DATA to a folder with {name}.npz: an archive "
            f"written by numpy.savez_compressed with {_layout(name)}."
        ) from error
    images = _unflatten(np.asarray(rows, dtype=np.uint8), _SOURCES[name].image)
    digits = np.asarray(labels, dtype=np.int64) % _NUM_CLASSES  # SVHN calls the digit 0 class 10
    try:
        _save(path, images.reshape(-1, *_SOURCES[name].stored), digits, _SOURCES[name].num_train)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}. {_ELSEWHERE}") from error
    return path


def _check_folder(folder: Path) -> None:
    """Checks, before a download, that a folder can be made and written in."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise OSError(f"{there} cannot be written in, and data is to be kept there. {_ELSEWHERE}")


def _unflatten(rows: np.ndarray, image: tuple[int, int, int]) -> np.ndarray:
    """Rows of pixels as images `(n, c, h, w)`.

    OpenML does not say whether the channels were flattened first or last. Neighboring pixels are
    alike, so the right order gives the smoother images.
    """
    channels, height, width = image
    first = rows.reshape(-1, channels, height, width)
    last = rows.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    return min(first, last, key=_roughness)


def _roughness(images: np.ndarray) -> float:
    """Mean step between horizontal neighbors, of a few hundred images."""
    return float(np.abs(np.diff(images[:256].astype(np.int16), axis=-1)).mean())


def _save(path: Path, images: np.ndarray, labels: np.ndarray, num_train: int) -> None:
    """Writes the file in one move, so that an interrupted download leaves none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = (images[:num_train], labels[:num_train], images[num_train:], labels[num_train:])
    contents: dict[str, Any] = {
        key: array.astype(np.uint8) for key, array in zip(_KEYS, arrays, strict=True)
    }
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        np.savez_compressed(part, **contents)
        part.replace(path)
