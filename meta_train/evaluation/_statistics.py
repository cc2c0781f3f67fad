"""What is read off training curves `(steps, ...)`; entry `k` is the loss before step `k`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WINDOW = 25  # minibatch losses that a smoothed loss averages


def mean_loss(losses: np.ndarray) -> np.ndarray:
    """Mean over the run, `(...)`; infinite where the run is not finite."""
    return _finite(losses).mean(axis=0)


def final_loss(losses: np.ndarray) -> np.ndarray:
    """Mean of the last `WINDOW` losses, `(...)`."""
    return loss_at(losses, len(losses))


def loss_at(losses: np.ndarray, step: int) -> np.ndarray:
    """Mean of the `WINDOW` losses that end at step `step`, `(...)`."""
    return _finite(losses[max(0, step - WINDOW) : step]).mean(axis=0)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Means of every `WINDOW` losses in a row; the first ends at step `WINDOW`."""
    window = min(WINDOW, len(losses))
    frames = np.lib.stride_tricks.sliding_window_view(_finite(losses), window, axis=0)
    return frames.mean(axis=-1)


def steps_to(losses: np.ndarray, target: float) -> np.ndarray:
    """First step with a smoothed loss of at most `target`, `(...)`; infinite if there is none."""
    reached = smoothed(losses) <= target
    first = reached.argmax(axis=0) + float(min(WINDOW, len(losses)))
    return np.where(reached.any(axis=0), first, np.inf)


def diverged(losses: np.ndarray) -> np.ndarray:
    """Whether a run is not finite or ends above its first loss, `(...)`."""
    return ~np.isfinite(losses).all(axis=0) | (final_loss(losses) > losses[0])


def interquartile_mean(groups: Sequence[np.ndarray], axis: int = -1) -> np.ndarray:
    """Mean of the middle half of all values in all groups."""
    from scipy.stats import trim_mean

    return trim_mean(np.concatenate(groups, axis=axis), 0.25, axis=axis)


def bootstrap_interval(groups: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """95% interval of the interquartile mean, resampling within every group.

    None where a group has fewer than two values.
    """
    from scipy.stats import bootstrap

    if min(len(group) for group in groups) < 2:
        return None
    interval = bootstrap(
        groups,
        lambda *resampled, axis: interquartile_mean(resampled, axis),
        n_resamples=2_000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _finite(losses: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(losses), losses, np.inf).astype(np.float64)
