"""Differential equations, solved by networks that are asked for their derivatives.

The exact solution is drawn first, and the equation's right side is what the operator makes of it.

Shape legend: `b` points of `d` coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad

from .._augment import Changed
from .._base import Batch, ModuleTask, Params, Task, TaskFamily
from .._draw import Dice
from .._samples import Split
from ..architectures import Budget, draw_smooth
from ._pose import pose

Solution = Callable[[Tensor], Tensor]
"""Points `(b, d)` to values `(b, 1)`."""
_POINTS, _BORDER = 4_096, 32
_BUDGET = Budget(max_work=3e7)  # derivatives take several passes


@dataclass(frozen=True)
class Operator:
    """A second-order operator: `a u'' + b u' + c u + e u^3`, derivatives along the axes added.

    Attributes:
        second: `a`, one for each axis.
        first: `b`, one for each axis.
        plain: `c`.
        cubic: `e`.
    """

    second: tuple[float, ...]
    first: tuple[float, ...]
    plain: float
    cubic: float

    def __call__(self, u: Solution, x: Tensor) -> Tensor:
        """What it makes of a function, at the points `(b, d)`."""
        value = u(x)
        total = self.plain * value + self.cubic * value**3
        for axis, (a, b) in enumerate(zip(self.second, self.first, strict=True)):
            along = _derivative(u, axis)
            total = total + b * along(x)
            if a:
                total = total + a * _derivative(along, axis)(x)
        return total


def _derivative(u: Solution, axis: int) -> Solution:
    """Of every point's value by one of its own coordinates."""
    of_all = grad(lambda x: u(x).sum())
    return lambda x: of_all(x)[:, axis, None]


@dataclass(frozen=True)
class Equations(TaskFamily):
    """Equations in one or two dimensions: the squared residual, and the distance at the border.

    Steady ones and ones in time; with transport, with decay, some not linear.

    Attributes:
        budget: What a network may cost.
    """

    budget: Budget = _BUDGET

    def sample(self, generator: torch.Generator) -> Task:
        """Draws an equation, its solution, an architecture and how it is trained."""
        dice = Dice(generator)
        size = dice.integer(1, 2)
        operator, solution = _draw_operator(dice, size), _draw_solution(dice, size)
        inner = 2 * torch.rand(_POINTS, size, generator=generator) - 1
        with torch.no_grad():
            right = operator(solution, inner)
        cut = _POINTS // 5
        data = Split(inner[cut:], right[cut:], inner[:cut], right[:cut])
        task = pose(dice, lambda d: draw_smooth(d, inner[:1], 1), data, F.mse_loss, self.budget)
        border = _draw_border(dice, size)
        return _EquationTask(task, operator, border, solution(border), dice.log_uniform(1, 100))


class _EquationTask(Changed):
    """Batches have points inside with the right side there, and points at the border."""

    def __init__(
        self, task: ModuleTask, operator: Operator, border: Tensor, values: Tensor, weight: float
    ) -> None:
        super().__init__(task)
        self.net, self.operator = task.module, operator
        self.border, self.values = border, values
        self.sizes = (
            task.data[1].square().mean().clamp(min=1e-3),
            values.square().mean().clamp(min=1e-3) / weight,
        )

    def batch(self, generator: torch.Generator) -> Batch:
        return *super().batch(generator), *self._at_border(generator)

    def validation_batch(self, generator: torch.Generator) -> Batch:
        return *super().validation_batch(generator), *self._at_border(generator)

    def loss(self, params: Params, batch: Batch) -> Tensor:
        x, right, border, values = batch
        u = partial(self._solution, params)
        residual = self.operator(u, x) - right
        distance = u(border) - values
        terms = (residual.square().mean(), distance.square().mean())
        return terms[0] / self.sizes[0] + terms[1] / self.sizes[1]

    def _solution(self, params: Params, x: Tensor) -> Tensor:
        y: Tensor = functional_call(self.net, params, (x,))
        return y

    def _at_border(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(self.border), (_BORDER,), generator=generator)
        return self.border[index], self.values[index]


def _draw_operator(dice: Dice, size: int) -> Operator:
    """Diffusion along all axes, or all but the last, which then is time."""
    in_time = size > 1 and dice.chance(0.5)
    bends = [-dice.log_uniform(0.05, 1) for _ in range(size)]
    slopes = [dice.uniform(-1, 1) if dice.chance(0.4) else 0.0 for _ in range(size)]
    if in_time:
        bends[-1], slopes[-1] = 0.0, 1.0
    plain = dice.uniform(-1, 3) if dice.chance(0.4) else 0.0
    cubic = dice.uniform(0, 2) if dice.chance(0.25) else 0.0
    return Operator(tuple(bends), tuple(slopes), plain, cubic)


def _draw_solution(dice: Dice, size: int) -> Solution:
    """A sum of waves."""
    waves = dice.integer(1, 4)
    directions = dice.uniform(1, 2) * pi / 2 * torch.randn(size, waves, generator=dice.generator)
    phases = 2 * pi * torch.rand(waves, generator=dice.generator)
    heights = torch.randn(waves, 1, generator=dice.generator)
    return lambda x: (x @ directions + phases).sin() @ heights


def _draw_border(dice: Dice, size: int) -> Tensor:
    """Points of [-1, 1]^d of which one coordinate is at an end."""
    points = 2 * torch.rand(_POINTS, size, generator=dice.generator) - 1
    axis = torch.randint(size, (_POINTS, 1), generator=dice.generator)
    ends = torch.randint(2, (_POINTS, 1), generator=dice.generator).float() * 2 - 1
    return points.scatter(1, axis, ends)
