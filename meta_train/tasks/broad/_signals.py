"""Classes of short series, and forecasts of long ones.

Shape legend: `n` series, `t` points in time, `c` channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data import SERIES, SIGNALS, load_series, load_signals
from .._base import Task, TaskFamily
from .._draw import Dice
from .._samples import Split
from ..architectures import USUAL, Budget
from ._images import draw_part
from ._pose import Architecture, classifier, regressor

_MAX_TIME = 48
_MAX_WINDOWS = 10_000


@dataclass(frozen=True)
class SignalClassifiers(TaskFamily):
    """Classes of series, averaged to a drawn length.

    Attributes:
        architecture: Draws the network.
        data: Names of signals, as for `load_signals`; read when a task is drawn from them.
        budget: What a network may cost.
    """

    architecture: Architecture
    data: tuple[str, ...] = SIGNALS
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws series, an architecture and how it is trained."""
        dice = Dice(generator)
        data = draw_part(dice, load_signals(dice.choice(self.data)), 3_000)
        time = dice.size(8, min(_MAX_TIME, data.inputs.shape[1]))
        data = data.map(lambda x: F.adaptive_avg_pool1d(x.mT, time).mT)
        mean, std = data.inputs.mean((0, 1)), data.inputs.std((0, 1)).clamp(min=1e-3)
        return classifier(
            dice, self.architecture, data.map(lambda x: (x - mean) / std), self.budget
        )


@dataclass(frozen=True)
class Forecasts(TaskFamily):
    """The next values of a series from those before; the last fifth is held out.

    Attributes:
        architecture: Draws the network.
        data: Names of series, as for `load_series`; read when a task is drawn from them.
        budget: What a network may cost.
    """

    architecture: Architecture
    data: tuple[str, ...] = SERIES
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a series, how far to look, an architecture and how it is trained."""
        dice = Dice(generator)
        series = load_series(dice.choice(self.data))
        cut = len(series) * 4 // 5
        past, ahead = dice.size(6, min(32, (len(series) - cut) // 2)), dice.size(1, 6)
        mean, std = series[:cut].mean(0), series[:cut].std(0).clamp(min=1e-3)
        series = ((series - mean) / std).clamp(-10, 10)
        parts = (_windows(part, past, ahead) for part in (series[:cut], series[cut:]))
        data = Split(*(tensor for part in parts for tensor in part))
        return regressor(dice, self.architecture, data, self.budget)


def _windows(series: Tensor, past: int, ahead: int) -> tuple[Tensor, Tensor]:
    """Pieces `(n, past, c)` and the first channel's values after them `(n, ahead)`."""
    step = max(1, len(series) // _MAX_WINDOWS)
    windows = series.unfold(0, past + ahead, step)  # (n, c, past + ahead)
    return windows[..., :past].mT, windows[:, 0, past:]
