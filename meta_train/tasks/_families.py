"""Bundled task families: MLPs and small CNNs on digits and on random teacher networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._base import ModuleTask, Task, TaskFamily
from ._data import load_data

T = TypeVar("T")

ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (nn.ReLU, nn.ReLU, nn.Tanh, nn.GELU)


def mlp(widths: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """An MLP with the given layer widths, input and output included."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


class Draw:
    """Random choices from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        """A number in `[low, high)`."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def log_uniform(self, low: float, high: float) -> float:
        """A number in `[low, high)` whose logarithm is uniform."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """An integer in `[low, high]`."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def size(self, low: int, high: int) -> int:
        """A log-uniform integer in `[low, high]`."""
        return min(high, int(self.log_uniform(low, high + 1)))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform(0, 1) < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.integer(0, len(options) - 1)]


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


@dataclass(frozen=True)
class DigitsMLPs(TaskFamily):
    """Digits classifiers: images resized and jittered, noisy labels, MLPs of many shapes.

    Attributes:
        max_hidden_layers: Deepest network.
        min_width: Narrowest hidden layer.
        max_width: Widest hidden layer.
        max_weights: Networks with more weights are drawn again.
    """

    max_hidden_layers: int = 4
    min_width: int = 8
    max_width: int = 128
    max_weights: int = 48_000

    def sample(self, generator: torch.Generator) -> Task:
        """Draws data, an architecture and a batch size."""
        draw = Draw(generator)
        data = _digits(draw).map(lambda images: images.flatten(1))
        widths = _hidden(draw, self, data.inputs.shape[1], 10)
        activation = draw.choice(ACTIVATIONS)
        return _classifier(draw, lambda: mlp(widths, activation), data)


@dataclass(frozen=True)
class DigitsCNNs(TaskFamily):
    """Digits classifiers with one or two convolutions, then a global pool or a flatten boundary.

    Attributes:
        max_channels: Widest convolution.
    """

    max_channels: int = 24

    def sample(self, generator: torch.Generator) -> Task:
        """Draws data, an architecture and a batch size."""
        draw = Draw(generator)
        data = _digits(draw, max_size=12)
        channels = [draw.size(4, self.max_channels) for _ in range(draw.integer(1, 2))]
        kernel, activation = draw.choice((3, 3, 5)), draw.choice(ACTIVATIONS)
        pool = draw.chance(0.5)
        size = data.inputs.shape[-1]

        def build() -> nn.Module:
            layers: list[nn.Module] = []
            side, before = size, 1
            for width in channels:
                layers += [
                    nn.Conv2d(before, width, kernel, stride=2, padding=kernel // 2),
                    activation(),
                ]
                side, before = (side + 1) // 2, width
            layers += [nn.AdaptiveAvgPool2d(1)] if pool else []
            side = 1 if pool else side
            return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, 10))

        return _classifier(draw, build, data, max_batch=64)


@dataclass(frozen=True)
class TeacherMLPs(TaskFamily):
    """Students of random teacher networks on Gaussian inputs, classification and regression.

    Attributes:
        max_inputs: Largest input size.
        max_hidden_layers: Deepest student.
        min_width: Narrowest hidden layer.
        max_width: Widest hidden layer.
        max_weights: Students with more weights are drawn again.
    """

    max_inputs: int = 512
    max_hidden_layers: int = 4
    min_width: int = 8
    max_width: int = 128
    max_weights: int = 48_000

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a teacher, a data set, an architecture and a batch size."""
        draw = Draw(generator)
        inputs_size, outputs = draw.size(4, self.max_inputs), draw.size(2, 20)
        inputs = _gaussian_inputs(draw, draw.size(256, 4096), inputs_size)
        teacher_widths = (inputs_size, draw.size(4, 64), outputs)
        teacher = _seeded(draw, lambda: mlp(teacher_widths, nn.Tanh))
        with torch.no_grad():
            scores = teacher(inputs)
        scores = (scores - scores.mean(0)) / scores.std(0)
        widths = _hidden(draw, self, inputs_size, outputs)
        activation = draw.choice(ACTIVATIONS)
        if draw.chance(0.3):
            data = _split(inputs, scores)
            return ModuleTask(
                lambda: mlp(widths, activation),
                F.mse_loss,
                (data.inputs, data.labels),
                validation_data=(data.held_inputs, data.held_labels),
                batch_size=draw.size(16, 128),
                init_scale=_init_scale(draw),
            )
        return _classifier(draw, lambda: mlp(widths, activation), _split(inputs, scores.argmax(1)))


@dataclass(frozen=True)
class Mixture(TaskFamily):
    """Draws a family, then a task from it.

    Attributes:
        families: The families and their relative weights.
    """

    families: tuple[tuple[TaskFamily, float], ...]

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a task."""
        weights = torch.tensor([weight for _, weight in self.families])
        index = int(torch.multinomial(weights, 1, generator=generator))
        return self.families[index][0].sample(generator)


default_family = Mixture(((DigitsMLPs(), 0.55), (TeacherMLPs(), 0.3), (DigitsCNNs(), 0.15)))


def _hidden(
    draw: Draw, family: DigitsMLPs | TeacherMLPs, inputs: int, outputs: int
) -> tuple[int, ...]:
    """Layer widths, input and output included, under the family's limit on weights."""
    while True:
        depth = draw.integer(1, family.max_hidden_layers)
        first = draw.size(family.min_width, family.max_width)
        same = draw.chance(0.5)
        hidden = [
            first if same else draw.size(family.min_width, family.max_width) for _ in range(depth)
        ]
        widths = (inputs, *hidden, outputs)
        if sum(a * b for a, b in pairwise(widths)) <= family.max_weights:
            return widths


def _digits(draw: Draw, max_size: int = 24) -> Split:
    """Digits as they are, or resized to a sampled size, or jittered into many more images."""
    data = load_data("digits")
    kept = torch.randperm(len(data.x_train), generator=draw.generator)
    kept = kept[: draw.size(250, len(kept))]
    split = _split(data.x_train[kept], data.y_train[kept])
    if draw.chance(0.4):
        split = _jittered(draw, split, draw.size(8, max_size))
    elif draw.chance(0.4):
        size = (draw.size(5, max_size),) * 2
        split = split.map(lambda x: F.interpolate(x, size=size, mode="bilinear", antialias=True))
    if draw.chance(0.4):
        mean, std = split.inputs.mean(), split.inputs.std()
        split = split.map(lambda x: (x - mean) / std)
    return split


def _jittered(draw: Draw, split: Split, size: int) -> Split:
    """Thousands of rotated, scaled and shifted copies at a new size: too many to memorize."""

    def jitter(inputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(inputs), (count,), generator=draw.generator)
        angle, zoom, dx, dy = (2 * torch.rand(4, count, generator=draw.generator) - 1).unbind()
        cos, sin, zoom = (0.25 * angle).cos(), (0.25 * angle).sin(), 1.15 + 0.25 * zoom
        rows = [zoom * cos, -zoom * sin, 0.3 * dx, zoom * sin, zoom * cos, 0.3 * dy]
        shape = (count, 1, size, size)
        grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), shape, align_corners=False)
        return F.grid_sample(inputs[index], grid, align_corners=False), labels[index]

    train = jitter(split.inputs, split.labels, draw.size(3_000, 12_000))
    return Split(*train, *jitter(split.held_inputs, split.held_labels, 1_000))


def _split(inputs: Tensor, targets: Tensor) -> Split:
    """Holds a fifth of the samples out."""
    held = len(inputs) // 5
    return Split(inputs[held:], targets[held:], inputs[:held], targets[:held])


def _classifier(
    draw: Draw, build: Callable[[], nn.Module], data: Split, *, max_batch: int = 128
) -> ModuleTask:
    """Cross-entropy on labels of which a sampled share is random; held-out labels are clean."""
    noise = draw.uniform(0, 0.3) if draw.chance(0.3) else 0.0
    noisy = torch.rand(len(data.labels), generator=draw.generator) < noise
    random = torch.randint(int(data.labels.max()) + 1, data.labels.shape, generator=draw.generator)
    return ModuleTask(
        build,
        F.cross_entropy,
        (data.inputs, torch.where(noisy, random, data.labels)),
        validation_data=(data.held_inputs, data.held_labels),
        batch_size=draw.size(16, max_batch),
        init_scale=_init_scale(draw),
    )


def _init_scale(draw: Draw) -> float:
    return draw.log_uniform(0.5, 2) if draw.chance(0.3) else 1.0


def _gaussian_inputs(draw: Draw, samples: int, size: int) -> Tensor:
    """Gaussian inputs; half the time in clusters, and with features of unequal scale."""
    inputs = torch.randn(samples, size, generator=draw.generator)
    if draw.chance(0.5):
        centers = torch.randn(draw.integer(2, 20), size, generator=draw.generator)
        inputs = (
            inputs * 0.5
            + centers[torch.randint(len(centers), (samples,), generator=draw.generator)]
        )
    if draw.chance(0.3):
        inputs = inputs * torch.randn(size, generator=draw.generator).exp()
    if draw.chance(0.3):
        inputs = inputs.relu()
    return inputs


def _seeded(draw: Draw, build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.integer(0, 2**31 - 1))
        return build()
