"""Bundled task families: MLPs and small CNNs on digits and on random teacher networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
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
class DigitsMLPs(TaskFamily):
    """Digits classifiers: images resized and padded, labels permuted and noisy, MLPs of many shapes.

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
        images, labels = _digits(draw)
        inputs = images.flatten(1)
        widths = _hidden(draw, self, inputs.shape[1], 10)
        activation = draw.choice(ACTIVATIONS)
        return _classifier(draw, lambda: mlp(widths, activation), inputs, labels)


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
        images, labels = _digits(draw, max_size=12)
        channels = [draw.size(4, self.max_channels) for _ in range(draw.integer(1, 2))]
        kernel, activation = draw.choice((3, 3, 5)), draw.choice(ACTIVATIONS)
        pool = draw.chance(0.5)
        size = images.shape[-1]

        def build() -> nn.Module:
            layers: list[nn.Module] = []
            side, before = size, 1
            for width in channels:
                layers += [nn.Conv2d(before, width, kernel, stride=2, padding=kernel // 2), activation()]
                side, before = (side + 1) // 2, width
            layers += [nn.AdaptiveAvgPool2d(1)] if pool else []
            side = 1 if pool else side
            return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, 10))

        return _classifier(draw, build, images, labels, max_batch=64)


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
            return ModuleTask(
                lambda: mlp(widths, activation),
                F.mse_loss,
                (inputs, scores),
                batch_size=draw.size(16, 128),
                init_scale=_init_scale(draw),
            )
        return _classifier(draw, lambda: mlp(widths, activation), inputs, scores.argmax(1))


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
        if sum(a * b for a, b in zip(widths, widths[1:], strict=False)) <= family.max_weights:
            return widths


def _digits(draw: Draw, max_size: int = 20) -> tuple[Tensor, Tensor]:
    """Training digits `(samples, 1, size, size)` and labels, with sampled size, border, scaling and amount."""
    data = load_data("digits")
    images, labels = data.x_train, data.y_train
    if draw.chance(0.5):
        size = draw.size(5, max_size)
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        images = F.pad(images, (draw.integer(0, 2), 0) * 2).clone() if draw.chance(0.3) else images
    if draw.chance(0.4):
        images = (images - images.mean()) / images.std()
    kept = torch.randperm(len(images), generator=draw.generator)[: draw.size(200, len(images))]
    return images[kept], labels[kept]


def _classifier(
    draw: Draw,
    build: Callable[[], nn.Module],
    inputs: Tensor,
    labels: Tensor,
    *,
    max_batch: int = 128,
) -> ModuleTask:
    """Cross-entropy on labels of which a sampled share is random."""
    noise = draw.uniform(0, 0.3) if draw.chance(0.3) else 0.0
    noisy = torch.rand(len(labels), generator=draw.generator) < noise
    random = torch.randint(int(labels.max()) + 1, labels.shape, generator=draw.generator)
    return ModuleTask(
        build,
        F.cross_entropy,
        (inputs, torch.where(noisy, random, labels)),
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
        inputs = inputs * 0.5 + centers[torch.randint(len(centers), (samples,), generator=draw.generator)]
    if draw.chance(0.3):
        inputs = inputs * torch.randn(size, generator=draw.generator).exp()
    if draw.chance(0.3):
        inputs = inputs.relu()
    return inputs


def _seeded(draw: Draw, build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.integer(0, 2**31 - 1))
        return build()
