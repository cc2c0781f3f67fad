"""Tables: classes from numbers and categories, regressions with and without heavy tails."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from ...tasks import mlp
from ._data import arrays, shuffled_split, standardized, table
from ._problem import Problem, Split, classification, regression

_NUMERIC = 10  # leading columns of covertype; then four of wilderness, then soils
_WILDERNESS = 4
_OCCUPANCY = 5  # column of California housing: people a household, with very large outliers


def embedded_categories(generator: torch.Generator) -> Problem:
    """Forest cover from ten numbers, a wilderness and a soil, the latter two embedded."""
    return classification(_Embedded(), _covertype(), generator)


def large_batch(generator: torch.Generator) -> Problem:
    """Forest cover from the flat table, batches of 1,024."""
    return classification(mlp((52, 128, 128, 7)), table("c_covertype15k"), generator, batch=1024)


def land_use(generator: torch.Generator) -> Problem:
    """Land use from satellite images' spectra, 36-64-64-6."""
    return classification(mlp((36, 64, 64, 6)), table("c_satimage"), generator)


def house_values(generator: torch.Generator) -> Problem:
    """California's house values, 8-128-128-1."""
    return regression(mlp((8, 128, 128, 1)), table("r_california_housing"), generator)


def heavy_tails(generator: torch.Generator) -> Problem:
    """California's people a household: most near 3, some above 500."""
    return regression(mlp((7, 64, 64, 1)), _occupancy(), generator)


def airfoil(generator: torch.Generator) -> Problem:
    """Noise of airfoils, 5-64-64-1."""
    return regression(mlp((5, 64, 64, 1)), table("r_airfoil"), generator)


def robot_arm(generator: torch.Generator) -> Problem:
    """Acceleration of a robot arm's joint, 32-64-64-1; most inputs do not matter."""
    return regression(mlp((32, 64, 64, 1)), table("r_pumadyn32nm"), generator)


@cache
def _covertype() -> Split:
    """Ten numbers and two category indices a row, `(n, 12)`."""
    file = arrays("tables/c_covertype15k.npz")
    x, y = torch.from_numpy(file["x"]), torch.from_numpy(file["y"]).long()
    numbers, wilderness, soil = x.split((_NUMERIC, _WILDERNESS, x.shape[1] - 14), dim=1)
    indices = torch.stack([wilderness.argmax(1), soil.argmax(1)], dim=1)
    return shuffled_split(torch.cat([standardized(numbers), indices], dim=1), y)


@cache
def _occupancy() -> Split:
    x = torch.from_numpy(arrays("tables/r_california_housing.npz")["x"])
    others = torch.cat([x[:, :_OCCUPANCY], x[:, _OCCUPANCY + 1 :]], dim=1)
    return shuffled_split(standardized(others).clamp(-5, 5), standardized(x[:, [_OCCUPANCY]]))


class _Embedded(nn.Module):
    """An MLP on numbers and embedded categories."""

    def __init__(self) -> None:
        super().__init__()
        self.wilderness, self.soil = nn.Embedding(_WILDERNESS, 4), nn.Embedding(38, 8)
        self.mlp = mlp((_NUMERIC + 12, 128, 128, 7))

    def forward(self, x: Tensor) -> Tensor:
        wilderness, soil = x[:, _NUMERIC:].long().unbind(1)
        embedded = self.wilderness(wilderness), self.soil(soil)
        return self.mlp(torch.cat([x[:, :_NUMERIC], *embedded], dim=1))
