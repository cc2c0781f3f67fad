"""Image data sets, read when asked for: digits ship with scikit-learn, others come from files.

Shape legend: `n` images of `c` channels, `h` rows and `w` columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nfn_optim.cache import cache_folder

from ._files import find_file, folders, read_arrays
from ._openml import ELSEWHERE, download
from ._sources import KEYS, SOURCES, Source


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples and labels, split into training and test data.

    Args:
        x_train: Training samples, float32: images `(n, c, h, w)` in [0, 1], series `(n, t, c)`.
        y_train: Their labels, int64, `(n,)`.
        x_test: Test samples, like `x_train`.
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


def load_data(name: str) -> Dataset:
    """Loads labelled images by name.

    Digits (1,797 images of 8x8) are embedded in scikit-learn; 360 of them, every class in
    proportion, are held out by a fixed seed. mnist, fashion_mnist, cifar10 and svhn are read from
    `$NFN_DATA/<name>.npz`, else from `$NFN_CACHE` (`~/.cache/nfn_optim` without), else downloaded
    from OpenML into that folder. The others are read from `images/<name>.npz` in these folders:
    ahcd_arabic, cifar100_20cls, emnist_bymerge47, emnist_letters19, hoda_farsi_digits, notmnist,
    omniglot_small1, pneumoniamnist, sign_digits_grey and usps.

    A file holds uint8 arrays `x_train`, `y_train`, `x_test` and `y_test`; colors come first or
    last. Within a process everything is read once; treat the tensors as read-only.

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
    if name not in SOURCES:
        known = ", ".join(["digits", *SOURCES])
        raise ValueError(f"there is no data set {name!r}. Choose one of {known}.")
    path, kept = find_file(_file(name)), cache_folder() / _file(name)
    return _read(path, name) if path and path != kept else _from_cache(kept, name)


@cache
def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        images.reshape(-1, 1, 8, 8), labels, test_size=360, random_state=0, stratify=labels
    )
    return _dataset((x_train, y_train, x_test, y_test), 16)


def _from_cache(path: Path, name: str) -> Dataset:
    """From the user's cache; what is not there, or is damaged, is downloaded."""
    damage: ValueError | None = None
    if path.is_file():
        try:
            return _read(path, name)
        except ValueError as error:
            damage = error
    try:
        download(name, SOURCES[name], path)
    except ConnectionError as error:
        if damage is not None:
            raise ValueError(f"{damage} {ELSEWHERE}") from error
        raise _absent(name, str(error)) from error
    return _read(path, name)


@cache
def _read(path: Path, name: str) -> Dataset:
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise ValueError(f"{error} {_remedy(name)}") from error
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise _invalid(path, name, f"has no array {', '.join(missing)}")
    for part in ("train", "test"):
        problem = _problem(arrays[f"x_{part}"], arrays[f"y_{part}"], SOURCES[name])
        if problem:
            raise _invalid(path, name, f"has a wrong {part} part: {problem}")
    x_train, y_train, x_test, y_test = (arrays[key] for key in KEYS)
    image = SOURCES[name].image
    return _dataset((_placed(x_train, image), y_train, _placed(x_test, image), y_test), 255)


def _placed(images: np.ndarray, image: tuple[int, int, int]) -> np.ndarray:
    """Images with their channels first."""
    if images.ndim == 4 and images.shape[1:] != image:
        images = images.transpose(0, 3, 1, 2)
    return images.reshape(-1, *image)


def _problem(images: np.ndarray, labels: np.ndarray, source: Source) -> str:
    """What is wrong with images and labels; nothing is the empty string."""
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        return f"images are {images.dtype} and labels {labels.dtype}, not both uint8"
    if images.shape[1:] not in source.stored:
        return f"images have the shape {images.shape}"
    if len(images) == 0 or labels.shape != (len(images),):
        return f"labels have the shape {labels.shape} beside {len(images)} images"
    if labels.max() >= source.classes:
        return f"labels go up to {labels.max()}"
    return ""


def _dataset(arrays: Sequence[np.ndarray], brightest: int) -> Dataset:
    x_train, y_train, x_test, y_test = map(torch.from_numpy, arrays)
    return Dataset(
        x_train.float() / brightest, y_train.long(), x_test.float() / brightest, y_test.long()
    )


def _file(name: str) -> str:
    return str(Path(SOURCES[name].folder, f"{name}.npz"))


def _layout(name: str) -> str:
    images = ", ".join(map(str, ("n", *SOURCES[name].stored[0])))
    return (
        f"x_train and x_test, uint8 images of the shape ({images}), and y_train and y_test, uint8 "
        f"labels 0 to {SOURCES[name].classes - 1} of the shape (n,)"
    )


def _remedy(name: str) -> str:
    again = ", or delete it so that the data is downloaded" if SOURCES[name].openml else ""
    return f"Expected {_layout(name)}, written by numpy.savez_compressed. Replace the file{again}."


def _invalid(path: Path, name: str, problem: str) -> ValueError:
    return ValueError(f"{path} {problem}. {_remedy(name)}")


def _absent(name: str, reason: str) -> FileNotFoundError:
    wanted = " or ".join(str(folder / _file(name)) for folder in folders())
    return FileNotFoundError(
        f"data set {name!r} is not on this machine and {reason}. Put it at {wanted}, or point "
        f"NFN_DATA to a folder with {_file(name)}: an archive written by numpy.savez_compressed "
        f"with {_layout(name)}."
    )
