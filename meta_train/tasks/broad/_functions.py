"""Functions to fit: of few numbers without noise, images as functions of the place, moving ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import load_data
from .._base import Task, TaskFamily
from .._draw import Dice, build_seeded, mlp
from .._samples import Split, draw_gaussians, split_samples
from ..architectures import USUAL, Budget, Builder, draw_field, draw_mlp
from ._images import ALL_IMAGES
from ._pose import pose, regressor

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Functions(TaskFamily):
    """Regressions on smooth and kinked functions of few numbers, most of them without noise.

    Attributes:
        max_inputs: Most numbers.
        budget: What a network may cost.
    """

    max_inputs: int = 24
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a function, an architecture and how it is trained."""
        dice = Dice(generator)
        size = dice.size(1, self.max_inputs)
        x = 2 * torch.rand(dice.size(200, 8_000), size, generator=generator) - 1
        function = dice.choice((_sines, _sines, _polynomial, _hills, _teacher, _kinks))
        y = function(dice, x)
        y = (y - y.mean(0)) / y.std(0).clamp(min=1e-3)
        if dice.chance(0.3):
            y = y + dice.log_uniform(0.01, 0.5) * torch.randn(y.shape, generator=generator)
        return regressor(dice, draw_mlp, split_samples(x, y), self.budget)


def _sines(dice: Dice, x: Tensor) -> Tensor:
    waves = torch.randn(x.shape[1], dice.size(1, 12), generator=dice.generator)
    phases = 6.3 * torch.rand(waves.shape[1], generator=dice.generator)
    turned = dice.log_uniform(1, 6) * x @ waves / x.shape[1] ** 0.5 + phases
    return turned.sin() @ _mixed(dice, waves.shape[1])


def _polynomial(dice: Dice, x: Tensor) -> Tensor:
    terms = [
        x[:, torch.randint(x.shape[1], (dice.integer(1, 3),), generator=dice.generator)].prod(1)
        for _ in range(dice.size(2, 16))
    ]
    return torch.stack(terms, 1) @ _mixed(dice, len(terms))


def _hills(dice: Dice, x: Tensor) -> Tensor:
    tops = 2 * torch.rand(dice.size(1, 10), x.shape[1], generator=dice.generator) - 1
    distance = torch.cdist(x, tops) / (dice.uniform(0.2, 1) * x.shape[1] ** 0.5)
    return (-distance.square()).exp() @ _mixed(dice, len(tops))


def _teacher(dice: Dice, x: Tensor) -> Tensor:
    widths = (x.shape[1], dice.size(4, 64), dice.size(4, 64), dice.size(1, 4))
    teacher = build_seeded(dice, lambda: mlp(widths, nn.Tanh))
    with torch.no_grad():
        return teacher(3 * x)


def _kinks(dice: Dice, x: Tensor) -> Tensor:
    planes = torch.randn(x.shape[1], dice.size(2, 12), generator=dice.generator)
    return (x @ planes).abs().amax(1, keepdim=True)


def _mixed(dice: Dice, terms: int) -> Tensor:
    """Weights of the terms in one to four outputs."""
    return torch.randn(terms, dice.size(1, 4), generator=dice.generator)


@dataclass(frozen=True)
class ImageFields(TaskFamily):
    """Pictures of one to nine images as functions of the place; no part of them is held out.

    Attributes:
        data: Names of data sets, as for `load_data`; read when a task is drawn from them.
        budget: What a network may cost.
    """

    data: tuple[str, ...] = ALL_IMAGES
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, an architecture and how it is trained."""
        dice = Dice(generator)
        images, grid = load_data(dice.choice(self.data)).x_train, dice.integer(1, 3)
        drawn = images[torch.randint(len(images), (grid, grid), generator=generator)]
        picture = drawn.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)  # (c, h, w)
        places = torch.cartesian_prod(*(torch.linspace(-1, 1, side) for side in picture.shape[1:]))
        colors = picture.flatten(1).T
        colors = (colors - colors.mean()) / (colors.std() if dice.chance(0.5) else 1)
        data = Split(places, colors, places, colors)
        return pose(
            dice,
            lambda d: draw_field(d, places[:1], colors.shape[1]),
            data,
            F.mse_loss,
            self.budget,
        )


@dataclass(frozen=True)
class MovingTargets(TaskFamily):
    """Functions that turn into others, at a drawn pace, while they are learned.

    Attributes:
        max_inputs: Most numbers that the functions read.
        budget: What a network may cost.
    """

    max_inputs: int = 32
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws the functions, their pace, an architecture and how it is trained."""
        dice = Dice(generator)
        x = draw_gaussians(dice, dice.size(500, 8_000), dice.size(2, self.max_inputs))
        x = (x - x.mean(0)) / x.std(0).clamp(min=1e-3)
        outputs, pace = dice.size(1, 4), dice.log_uniform(3e-4, 3e-2)
        widths = (x.shape[1], dice.size(4, 32), 2 * outputs)
        teacher = build_seeded(dice, lambda: mlp(widths, nn.Tanh))
        with torch.no_grad():
            both = teacher(2 * x)
        both = (both - both.mean(0)) / both.std(0).clamp(min=1e-3)

        def loss(found: tuple[Tensor, Tensor], ends: Tensor) -> Tensor:
            y, steps = found
            first, second = ends.chunk(2, dim=1)
            return F.mse_loss(y, (pace * steps).cos() * first + (pace * steps).sin() * second)

        def clocked(dice: Dice) -> Builder:
            build = draw_mlp(dice, x[:1], outputs)
            return lambda: _Clocked(build())

        return pose(dice, clocked, split_samples(x, both), loss, self.budget)


class _Clocked(nn.Module):
    """A network, and how often it was called."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        now = self.steps.clone()
        self.steps.add_(1)
        return self.net(x), now
