"""Samples that tasks are made of: parts of data sets, transformed as the dice decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Dataset, load_data
from ._base import ModuleTask
from ._draw import Dice


@dataclass(frozen=True)
class Split:
    """Training samples and samples held out for the meta-loss."""

    inputs: Tensor
    labels: Tensor
    held_inputs: Tensor
    held_labels: Tensor

    def map(self, fn: Callable[[Tensor], Tensor]) -> Split:
        """Applies `fn` to all inputs."""
        return Split(fn(self.inputs), self.labels, fn(self.held_inputs), self.held_labels)


def draw_digits(dice: Dice, max_size: int = 24) -> Split:
    """Digits as they are, or resized to a sampled size, or jittered into many more images."""
    data = load_data("digits")
    split = draw_split(dice, data, 250, len(data.x_train))
    if dice.chance(0.4):
        split = _jittered(dice, split, dice.size(8, max_size))
    elif dice.chance(0.4):
        size = (dice.size(5, max_size),) * 2
        split = split.map(lambda x: F.interpolate(x, size=size, mode="bilinear", antialias=True))
    if dice.chance(0.4):
        mean, std = split.inputs.mean(), split.inputs.std()
        split = split.map(lambda x: (x - mean) / std)
    return split


def _jittered(dice: Dice, split: Split, size: int) -> Split:
    """Thousands of rotated, scaled and shifted copies at a new size: too many to memorize."""

    def jitter(inputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(inputs), (count,), generator=dice.generator)
        angle, zoom, dx, dy = (2 * torch.rand(4, count, generator=dice.generator) - 1).unbind()
        cos, sin, zoom = (0.25 * angle).cos(), (0.25 * angle).sin(), 1.15 + 0.25 * zoom
        rows = [zoom * cos, -zoom * sin, 0.3 * dx, zoom * sin, zoom * cos, 0.3 * dy]
        shape = [count, 1, size, size]
        grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), shape, align_corners=False)
        return F.grid_sample(inputs[index], grid, align_corners=False), labels[index]

    train = jitter(split.inputs, split.labels, dice.size(3_000, 12_000))
    return Split(*train, *jitter(split.held_inputs, split.held_labels, 1_000))


def draw_split(dice: Dice, data: Dataset, fewest: int, most: int) -> Split:
    """Some of a data set's training samples, none of them twice, and a fifth of these held out."""
    available = len(data.x_train)
    order = torch.randperm(available, generator=dice.generator)
    kept = order[: dice.size(min(fewest, available), min(most, available))]
    return split_samples(data.x_train[kept], data.y_train[kept])


def split_samples(inputs: Tensor, targets: Tensor) -> Split:
    """Holds a fifth of the samples out; their order must be random, and no sample given twice."""
    held = len(inputs) // 5
    return Split(inputs[held:], targets[held:], inputs[:held], targets[:held])


def classify(
    dice: Dice, build: Callable[[], nn.Module], data: Split, *, max_batch: int = 128
) -> ModuleTask:
    """Cross-entropy on labels of which a sampled share is random; held-out labels are clean."""
    noise = dice.uniform(0, 0.3) if dice.chance(0.3) else 0.0
    noisy = torch.rand(len(data.labels), generator=dice.generator) < noise
    random = torch.randint(int(data.labels.max()) + 1, data.labels.shape, generator=dice.generator)
    return ModuleTask(
        build,
        F.cross_entropy,
        (data.inputs, torch.where(noisy, random, data.labels)),
        validation_data=(data.held_inputs, data.held_labels),
        batch_size=dice.size(16, max_batch),
        init_scale=draw_init_scale(dice),
    )


def draw_init_scale(dice: Dice) -> float:
    """Mostly one."""
    return dice.log_uniform(0.5, 2) if dice.chance(0.3) else 1.0


def draw_gaussians(dice: Dice, samples: int, size: int) -> Tensor:
    """Gaussian inputs; half the time in clusters, and with features of unequal scale."""
    inputs = torch.randn(samples, size, generator=dice.generator)
    if dice.chance(0.5):
        centers = torch.randn(dice.integer(2, 20), size, generator=dice.generator)
        inputs = (
            inputs * 0.5
            + centers[torch.randint(len(centers), (samples,), generator=dice.generator)]
        )
    if dice.chance(0.3):
        inputs = inputs * torch.randn(size, generator=dice.generator).exp()
    if dice.chance(0.3):
        inputs = inputs.relu()
    return inputs
