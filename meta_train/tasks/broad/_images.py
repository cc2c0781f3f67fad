"""Classifiers of images, of every kind of architecture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data import IMAGES, Dataset, load_data
from .._base import Task, TaskFamily
from .._draw import Dice
from .._samples import Split
from ..architectures import USUAL, Budget
from ._pose import Architecture, classifier

ALL_IMAGES = ("digits", *IMAGES)
_MIN_SIDE, _MAX_SIDE = 8, 28


@dataclass(frozen=True)
class ImageClassifiers(TaskFamily):
    """Classes of images, at drawn sizes, from all or some of a data set's classes.

    Attributes:
        architecture: Draws the network.
        data: Names of data sets, as for `load_data`; read when a task is drawn from them.
        max_samples: Most training images.
        budget: What a network may cost.
    """

    architecture: Architecture
    data: tuple[str, ...] = ALL_IMAGES
    max_samples: int = 6_000
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, an architecture and how it is trained."""
        dice = Dice(generator)
        data = some_classes(dice, load_data(dice.choice(self.data)))
        split = in_units(dice, resized(dice, draw_part(dice, data, self.max_samples)))
        return classifier(dice, self.architecture, split, self.budget)


def draw_part(dice: Dice, data: Dataset, most: int) -> Split:
    """Some of the training samples, and up to a thousand of the test samples as held-out ones."""

    def some(count: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        order = torch.randperm(len(x), generator=dice.generator)[:count]
        return x[order], y[order]

    available = min(most, len(data.x_train))
    count = dice.size(min(300, available), available)
    return Split(*some(count, data.x_train, data.y_train), *some(1_000, data.x_test, data.y_test))


def some_classes(dice: Dice, data: Dataset) -> Dataset:
    """Half of the time all classes, else a few, numbered anew."""
    classes = int(data.y_train.max()) + 1
    if classes == 2 or dice.chance(0.5):
        return data
    kept = torch.randperm(classes, generator=dice.generator)[: dice.size(2, classes)]
    number = torch.full((classes,), -1)
    number[kept] = torch.arange(len(kept))
    train, test = (number[y] >= 0 for y in (data.y_train, data.y_test))
    return Dataset(
        data.x_train[train],
        number[data.y_train[train]],
        data.x_test[test],
        number[data.y_test[test]],
    )


def resized(dice: Dice, data: Split, max_side: int = _MAX_SIDE, multiple: int = 1) -> Split:
    """The images at a drawn size, which is not larger than theirs."""
    largest = min(max_side, data.inputs.shape[-1]) // multiple
    side = multiple * dice.size(-(-min(_MIN_SIDE, multiple * largest) // multiple), largest)
    if side == data.inputs.shape[-1]:
        return data
    return data.map(
        lambda x: F.interpolate(x, size=(side, side), mode="bilinear", antialias=True).clamp(0, 1)
    )


def in_units(dice: Dice, data: Split) -> Split:
    """Images in [0, 1] as they are, inverted, from -1 to 1, or standardized."""
    mean, std = data.inputs.mean(), data.inputs.std()
    return data.map(
        dice.choice(
            (
                lambda x: x,
                lambda x: 1 - x,
                lambda x: 2 * x - 1,
                lambda x: (x - mean) / std,
                lambda x: (x - mean) / std,
            )
        )
    )
