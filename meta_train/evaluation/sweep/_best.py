"""Which settings of a contender did best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .._statistics import end_loss, mean_loss
from ..contenders import Setting
from ._run import Run


def curves(runs: Sequence[Run], setting: Setting) -> np.ndarray:
    """Losses `(steps, seeds)` of a setting, in the order of the seeds."""
    chosen = sorted((run for run in runs if run.setting == setting), key=lambda run: run.seed)
    return np.stack([run.losses for run in chosen], axis=1)


def best_setting(runs: Sequence[Run], metric: Callable[[np.ndarray], np.ndarray]) -> Setting:
    """The setting with the lowest mean over seeds, of those that ran from most seeds."""
    settings = list(dict.fromkeys(run.setting for run in runs))
    count = {s: sum(run.setting == s for run in runs) for s in settings}
    complete = [s for s in settings if count[s] == max(count.values())]
    return min(complete, key=lambda s: float(metric(curves(runs, s)).mean()))


def best_settings(runs: Sequence[Run]) -> list[Setting]:
    """Those with the lowest end loss and with the lowest mean loss."""
    return list(dict.fromkeys(best_setting(runs, metric) for metric in (end_loss, mean_loss)))
