"""The images of a suite: by name or the caller's own, checked and split into three parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...tasks import Dataset, load_data
from ..harness import Data

_CHANNELS = (1, 3, 4)  # gray, RGB, RGBA


@dataclass(frozen=True, eq=False)
class Images:
    """Images and labels, before any INR is fitted; networks can learn from them.

    Attributes:
        features: The images, float32 in [0, 1], `(n, c, h, w)`.
        targets: The labels, int64, `(n,)`.
    """

    features: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor | slice) -> Images:
        """Some of the images."""
        return Images(self.features[index], self.targets[index])

    def to(self, device: torch.device) -> Images:
        """The same on a device."""
        return Images(self.features.to(device), self.targets.to(device))


def read_images(data: Data) -> Dataset:
    """Reads a data set by name, or checks one of the caller's own and shuffles it.

    The caller's own may be sorted; shuffled, the parts that a suite splits it into are alike. Their
    channels may come last: `(n, h, w, c)` is told by a last axis of 1, 3 or 4 entries and a second
    one of another number.

    Returns:
        Images `(n, c, h, w)`.

    Raises:
        ValueError: If images or labels have a wrong shape, dtype or range, or it is a folder.
        FileNotFoundError: If the data set is not on this machine and cannot be downloaded.
    """
    if isinstance(data, Path):
        raise ValueError(
            f"{data} is a folder, but this suite reads images. Pass the name of a data set, or a "
            "meta_train.tasks.Dataset."
        )
    dataset = load_data(data) if isinstance(data, str) else _channels_first(data)
    _check("train", dataset.x_train, dataset.y_train)
    _check("test", dataset.x_test, dataset.y_test)
    if dataset.x_train.shape[1:] != dataset.x_test.shape[1:]:
        raise ValueError(
            f"training images have the shape {tuple(dataset.x_train.shape[1:])} and test images "
            f"{tuple(dataset.x_test.shape[1:])}. Give both the same."
        )
    return dataset if isinstance(data, str) else dataset.shuffled(0)


def num_classes(dataset: Dataset) -> int:
    """How many classes the labels name."""
    return int(max(dataset.y_train.max(), dataset.y_test.max())) + 1


def split(
    dataset: Dataset, num_train: int, num_validation: int, num_test: int
) -> tuple[Images, Images, Images]:
    """The first training images, the last ones for validation, and the first test images.

    A data set with fewer gives all it has, its training images in the same proportion.

    Raises:
        ValueError: If training or validation would have none.
    """
    train = Images(dataset.x_train, dataset.y_train)
    test = Images(dataset.x_test, dataset.y_test)
    asked = num_train + num_validation
    given = min(asked, len(train))
    for_train, for_validation = num_train * given // asked, num_validation * given // asked
    if not (for_train and for_validation):
        raise ValueError(
            f"{given} training images are too few: this size splits them {num_train} to "
            f"{num_validation} for training and validation. Give more."
        )
    return (
        train.take(slice(for_train)),
        train.take(slice(len(train) - for_validation, None)),
        test.take(slice(num_test)),
    )


def _channels_first(dataset: Dataset) -> Dataset:
    """The data set with images `(n, c, h, w)`."""

    def move(images: Tensor) -> Tensor:
        last = images.dim() == 4 and images.shape[-1] in _CHANNELS
        return images.movedim(-1, 1) if last and images.shape[1] not in _CHANNELS else images

    return replace(dataset, x_train=move(dataset.x_train), x_test=move(dataset.x_test))


def _check(part: str, images: Tensor, labels: Tensor) -> None:
    problem = ""
    if images.dim() != 4 or len(images) == 0:
        problem = (
            f"have the shape {tuple(images.shape)}, not (n, channels, rows, columns) or (n, rows, "
            "columns, channels)"
        )
    elif images.dtype != torch.float32:
        problem = f"are {images.dtype}, not torch.float32 within [0, 1]; divide bytes by 255"
    elif not (images.min() >= 0 and images.max() <= 1):
        problem = f"go from {images.min():.3g} to {images.max():.3g}, not within [0, 1]; scale them"
    elif labels.dtype != torch.int64 or labels.shape != (len(images),) or labels.min() < 0:
        problem = (
            f"come with labels of the shape {tuple(labels.shape)} and {labels.dtype}, not "
            f"({len(images)},) and torch.int64 from 0 on"
        )
    if problem:
        raise ValueError(f"{part} images {problem}.")
