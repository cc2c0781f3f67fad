"""Classes and numbers from tables of measurements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ...data import TABLES, Table, load_table
from .._base import Task, TaskFamily
from .._draw import Dice
from .._samples import Split
from ..architectures import USUAL, Budget, draw_mlp
from ._pose import Architecture, classifier, regressor

_CLIP = 5.0  # standard deviations


@dataclass(frozen=True)
class MeasuredTables(TaskFamily):
    """MLPs on all or some rows of a table: its classes, or its numbers.

    Attributes:
        architecture: Draws the network.
        data: Names of tables, as for `load_table`; read when a task is drawn from them.
        budget: What a network may cost.
    """

    architecture: Architecture = draw_mlp
    data: tuple[str, ...] = TABLES
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws rows, an architecture and how it is trained."""
        dice = Dice(generator)
        data = _draw_rows(dice, _distinct(dice.choice(self.data)))
        pose = regressor if data.labels.is_floating_point() else classifier
        return pose(dice, self.architecture, data, self.budget)


@cache
def _distinct(name: str) -> Table:
    """A table without its repeated rows, which would be in both parts of a split."""
    table = load_table(name)
    _, first = np.unique(table.x.numpy(), axis=0, return_index=True)
    kept = torch.from_numpy(np.sort(first))
    return Table(table.x[kept], table.y[kept])


def _draw_rows(dice: Dice, table: Table) -> Split:
    """Standardized columns; a fifth of all rows, the same in every task, is held out."""
    order = torch.randperm(len(table.x), generator=torch.Generator().manual_seed(0))
    held, train = order[: len(order) // 5], order[len(order) // 5 :]
    some = torch.randperm(len(train), generator=dice.generator)
    train = train[some[: dice.size(min(200, len(train)), len(train))]]
    x, y = _standardized(table.x, train), table.y
    if dice.chance(0.7):
        x = x.clamp(-_CLIP, _CLIP)
    if dice.chance(0.15):
        x = x * torch.randn(x.shape[1], generator=dice.generator).exp()
    if y.is_floating_point():
        y = _standardized(y[:, None], train)
    return Split(x[train], y[train], x[held], y[held])


def _standardized(columns: Tensor, rows: Tensor) -> Tensor:
    """Mean zero and standard deviation one on these rows; constant columns stay zero."""
    mean, std = columns[rows].mean(0), columns[rows].std(0)
    return torch.where(std > 1e-6 * (1 + mean.abs()), (columns - mean) / std, 0.0)
