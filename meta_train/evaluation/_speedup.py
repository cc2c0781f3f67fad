"""How much sooner one training curve is where another one ends.

Losses of minibatches go up and down, for all optimizers alike where these see the same batches. The
first step at which a noisy curve touches a value comes too early: a curve would be faster than
itself, by 8% in the median of the field. So the noise that two curves have in common is taken out
first.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d
from sklearn.isotonic import isotonic_regression

from .report import Row

_LEARNED = 1e-3  # share of the first loss below which nothing is left to learn
_TILT = 0.02  # log by which every curve falls at least while steps become e times as many
_SMOOTHED = 3  # points
_BEYOND = 2.0  # lengths of the run, as far as a curve that is behind is continued
_FINE = 2_000  # points


def speedup(own: Row, base: Row) -> float:
    """Length of a run over the steps to where another contender ends; 1 beside itself.

    The other's curve is taken as its monotone regression on a log scale, and this one as that times
    the ratio of both. What has not arrived at the end goes on as the other did over its last half,
    up to twice the length; 0 where it has not arrived then, or where one of them failed. Losses
    below a thousandth of the first count as that.
    """
    curves = np.array([own.curve.mean, base.curve.mean], dtype=float)
    if not curves.size or not np.isfinite(curves).all() or (curves < 0).any():
        return 0.0
    floor = max(_LEARNED * curves[1, 0], np.finfo(float).tiny)
    ours, theirs = np.log(np.maximum(curves, floor))
    times = np.log(base.curve.steps)
    fine = np.linspace(times[0], times[-1] + np.log(_BEYOND), _FINE)
    ahead = np.interp(fine, times, uniform_filter1d(ours - theirs, _SMOOTHED, mode="nearest"))
    falling = _falling(times, theirs, fine)
    target = np.interp(times[-1], fine, falling)
    left = falling + ahead - target
    arrived = np.flatnonzero(left <= 0)
    if not len(arrived):
        return 0.0
    first = int(arrived[0])
    when = np.interp(0, left[[first, first - 1]], fine[[first, first - 1]]) if first else fine[0]
    return float(np.exp(times[-1] - when))


def _falling(times: np.ndarray, losses: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The curve at other times without its noise; it falls everywhere, also beyond its end."""
    steps = isotonic_regression(losses, increasing=False)
    values = np.unique(steps)[::-1]
    centres = np.array([times[steps == value].mean() for value in values])
    early = np.flatnonzero(centres < times[-1] - np.log(2))
    start = int(early[-1]) if len(early) else 0
    span = centres[-1] - centres[start]
    slope = (values[-1] - values[start]) / span if span > 0 else 0.0
    values = np.append(values, values[-1] + slope * (at[-1] - centres[-1]))
    curve = np.interp(at, np.append(centres, at[-1]), values)
    return curve - _TILT * (at - at[0])
