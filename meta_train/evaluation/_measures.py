"""Metrics of sweeps, and the comparison of two sweeps on one task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from . import _statistics
from ._contenders import Setting
from ._results import Aggregate, Comparison, Measured
from ._sweep import Sweep

STEPS = (50, 100, 200, 500)
FINAL = "final_loss"


def measure(sweep: Sweep) -> dict[str, Measured]:
    """Every metric at the setting that is best for it: the most favourable to the optimizer.

    Losses choose by themselves (their mean over seeds); scores on held-out data are those of the
    setting with the best final loss, since nobody tunes on them.
    """
    losses = {"mean_loss": _statistics.mean_loss(sweep.losses)}
    losses[FINAL] = _statistics.final_loss(sweep.losses)
    for step in STEPS:
        if step <= len(sweep.losses):
            losses[f"loss_{step}"] = _statistics.loss_at(sweep.losses, step)
    metrics = {name: _at(sweep, values, best_setting(values)) for name, values in losses.items()}
    final = best_setting(losses[FINAL])
    return metrics | {name: _at(sweep, values, final) for name, values in sweep.scores.items()}


def best_setting(values: np.ndarray) -> int:
    """Index of the setting with the lowest mean over seeds; values are `(settings, seeds)`."""
    return int(values.mean(axis=1).argmin())


def best_rates(sweep: Sweep) -> tuple[float, float]:
    """Learning rates with the best mean loss over the run and with the best final loss."""
    values = _statistics.mean_loss(sweep.losses), _statistics.final_loss(sweep.losses)
    mean, final = (sweep.settings[best_setting(v)].rate for v in values)
    return mean, final


def curve(sweep: Sweep) -> np.ndarray:
    """Smoothed losses `(steps, seeds)` at the setting with the best final loss."""
    best = best_setting(_statistics.final_loss(sweep.losses))
    return _statistics.smoothed(sweep.losses[:, best])


def compare(
    ours: Sweep, baseline: Sweep, seconds: Mapping[str, float], names: tuple[str, str]
) -> Comparison:
    """The learned rule relative to a baseline.

    Args:
        ours: The learned rule's sweep, of one setting.
        baseline: The baseline's.
        seconds: Seconds a step, by optimizer; may lack either.
        names: What the two are called in `seconds`.
    """
    metrics, own = measure(baseline), measure(ours)
    target, num_steps = metrics[FINAL].mean, len(ours.losses)
    steps = _statistics.steps_to(ours.losses[:, 0], target)
    best = best_setting(_statistics.final_loss(baseline.losses))
    own_steps = np.minimum(_statistics.steps_to(baseline.losses[:, best], target), num_steps)
    speedup = _measured(num_steps / steps, ours.settings[0])
    has_seconds = all(name in seconds for name in names)
    factor = seconds[names[1]] / seconds[names[0]] if has_seconds else math.nan
    return Comparison(
        metrics=metrics,
        ratios={n: own[n].mean / m.mean for n, m in metrics.items() if "loss" in n and m.mean},
        steps=tuple(steps.tolist()),
        speedup=speedup,
        own_steps=tuple(own_steps.tolist()),
        strict_speedup=_measured(own_steps.mean() / steps, ours.settings[0]),
        wall_clock_speedup=speedup.mean * factor if has_seconds else None,
        num_diverged=int(_statistics.diverged(baseline.losses).sum()),
        num_runs=baseline.losses[0].size,
    )


def aggregate(speedups: Sequence[Measured]) -> Aggregate:
    """Speed-ups of all tasks as one figure, with its uncertainty."""
    groups = [np.array(speedup.per_seed) for speedup in speedups]
    means = [speedup.mean for speedup in speedups]
    return Aggregate(
        iqm=float(_statistics.interquartile_mean(groups)),
        interval=_statistics.bootstrap_interval(groups),
        median=float(np.median(means)),
        worst=min(means),
    )


def _at(sweep: Sweep, values: np.ndarray, setting: int) -> Measured:
    return _measured(values[setting], sweep.settings[setting])


def _measured(values: np.ndarray, setting: Setting) -> Measured:
    per_seed = values.astype(np.float64)
    std = float(per_seed.std()) if np.isfinite(per_seed).all() else math.nan
    mean = float(per_seed.mean())
    return Measured(mean, std, tuple(per_seed.tolist()), setting.rate, setting.schedule)
