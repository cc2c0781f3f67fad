"""Random choices that make up a task, and the networks that most families build."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

import torch
from torch import nn

T = TypeVar("T")

ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (nn.ReLU, nn.ReLU, nn.Tanh, nn.GELU)


def mlp(widths: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """An MLP with the given layer widths, input and output included."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


class Dice:
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


class Limits(Protocol):
    """What bounds the hidden layers that a family draws."""

    @property
    def max_hidden_layers(self) -> int:
        """Deepest network."""

    @property
    def min_width(self) -> int:
        """Narrowest hidden layer."""

    @property
    def max_width(self) -> int:
        """Widest hidden layer."""

    @property
    def max_weights(self) -> int:
        """Networks with more weights are drawn again."""


def draw_widths(dice: Dice, family: Limits, inputs: int, outputs: int) -> tuple[int, ...]:
    """Layer widths, input and output included, under the family's limit on weights."""
    while True:
        depth = dice.integer(1, family.max_hidden_layers)
        first = dice.size(family.min_width, family.max_width)
        same = dice.chance(0.5)
        hidden = [
            first if same else dice.size(family.min_width, family.max_width) for _ in range(depth)
        ]
        widths = (inputs, *hidden, outputs)
        if sum(a * b for a, b in pairwise(widths)) <= family.max_weights:
            return widths


def build_seeded(dice: Dice, build: Callable[[], nn.Module]) -> nn.Module:
    """A module whose initial weights the dice decide."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(dice.integer(0, 2**31 - 1))
        return build()
