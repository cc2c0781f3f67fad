"""From training runs to the figures of a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .. import _statistics as statistics
from ..contenders import Setting
from ..sweep import Entry, best_setting, curves
from ._results import Curve, Group, Measured, Row

_POINTS = 40  # of a curve


def measure(
    entry: Entry,
    group: Group,
    targets: Mapping[str, float],
    seconds: float | None,
    peak: int | None,
) -> Row:
    """A contender's figures on a task, each loss at the setting that is best for it.

    Args:
        entry: Its runs.
        group: What it is compared as.
        targets: End losses of the peers, by name.
        seconds: Seconds a step.
        peak: Bytes alive in a step.
    """
    runs, rates = entry.runs, entry.contender.rates
    end, mean = (
        best_setting(runs, metric) for metric in (statistics.end_loss, statistics.mean_loss)
    )
    losses = curves(runs, end)
    best = [run for run in runs if run.setting == end]
    names = dict.fromkeys(name for run in best for name in run.scores)
    return Row(
        task=entry.task.name,
        contender=entry.contender.name,
        group=group,
        end_loss=_measured(statistics.end_loss(losses), end),
        mean_loss=_measured(statistics.mean_loss(curves(runs, mean)), mean),
        scores={n: _measured([r.scores.get(n, math.nan) for r in best], end) for n in names},
        steps_to={n: tuple(statistics.steps_to(losses, t).tolist()) for n, t in targets.items()},
        seconds_per_step=seconds,
        peak_bytes=peak,
        num_diverged=sum(bool(statistics.diverged(run.losses)) for run in runs),
        num_runs=len(runs),
        failure=next((run.failure for run in best if run.failure), ""),
        added_rates=entry.added,
        at_an_end=len(rates) > 1 and end.rate in (rates[0], rates[-1]),
        curve=_curve(losses),
    )


def end_of(entry: Entry) -> float:
    """A contender's best end loss on a task."""
    best = best_setting(entry.runs, statistics.end_loss)
    return float(statistics.end_loss(curves(entry.runs, best)).mean())


def _curve(losses: np.ndarray) -> Curve:
    smooth = statistics.smoothed(losses)
    index = np.unique(np.linspace(0, len(smooth) - 1, _POINTS).astype(int))
    chosen, first = smooth[index], statistics.window(len(losses))
    over_seeds = chosen.mean(axis=1), chosen.min(axis=1), chosen.max(axis=1)
    return Curve(tuple((index + first).tolist()), *map(_rounded, over_seeds))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Four digits: enough for a picture."""
    return tuple(float(f"{value:.4g}") for value in values)


def _measured(values: np.ndarray | Sequence[float], setting: Setting) -> Measured:
    per_seed = np.asarray(values, dtype=np.float64)
    std = float(per_seed.std()) if np.isfinite(per_seed).all() else math.nan
    return Measured(
        float(per_seed.mean()), std, tuple(per_seed.tolist()), setting.rate, setting.schedule
    )
