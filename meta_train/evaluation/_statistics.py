"""What is read off training curves `(steps, ...)`, and off the speed-ups of many tasks.

Entry `k` of a curve is the loss before step `k`. Smoothed losses average a tenth of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_PART = 10  # a smoothed loss averages the run's length over this many steps


def window(num_steps: int) -> int:
    """Steps that a smoothed loss averages."""
    return max(1, num_steps // _PART)


def mean_loss(losses: np.ndarray) -> np.ndarray:
    """Mean over the run, `(...)`; infinite where the run is not finite."""
    return _finite(losses).mean(axis=0)


def end_loss(losses: np.ndarray) -> np.ndarray:
    """Mean of the last tenth of the losses, `(...)`."""
    return loss_at(losses, len(losses))


def loss_at(losses: np.ndarray, step: int) -> np.ndarray:
    """Mean of a tenth of the run's losses that ends at step `step`, `(...)`."""
    return _finite(losses[max(0, step - window(len(losses))) : step]).mean(axis=0)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Means of a tenth of the losses in a row; the first ends after a tenth of the steps."""
    frames = np.lib.stride_tricks.sliding_window_view(_finite(losses), window(len(losses)), axis=0)
    return frames.mean(axis=-1)


def steps_to(losses: np.ndarray, target: float) -> np.ndarray:
    """First step with a smoothed loss of at most `target`, `(...)`; infinite if there is none.

    An infinite target, of a run that failed, is reached by none.
    """
    reached = (smoothed(losses) <= target) & np.isfinite(target)
    first = reached.argmax(axis=0) + float(window(len(losses)))
    return np.where(reached.any(axis=0), first, np.inf)


def diverged(losses: np.ndarray) -> np.ndarray:
    """Whether a run is not finite or ends above its first loss, `(...)`."""
    return ~np.isfinite(losses).all(axis=0) | (end_loss(losses) > losses[0])


def interquartile_mean(groups: Sequence[np.ndarray], axis: int = -1) -> np.ndarray:
    """Mean of the middle half of all values in all groups."""
    from scipy.stats import trim_mean

    return trim_mean(np.concatenate(groups, axis=axis), 0.25, axis=axis)


def bootstrap_interval(values: np.ndarray) -> tuple[float, float] | None:
    """95% interval of the interquartile mean when tasks are drawn again, each with all its seeds.

    None for fewer than two tasks.

    Args:
        values: One row a task, one column a seed.
    """
    if len(values) < 2:
        return None
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(values), size=(2_000, len(values)))
    means = interquartile_mean([values[drawn].reshape(len(drawn), -1)])
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def performance_profile(
    costs: Mapping[str, Sequence[float]], factors: np.ndarray
) -> dict[str, np.ndarray]:
    """Share of tasks on which each contender's cost is within a factor of the lowest.

    The performance profile of Dolan and More (2002), as AlgoPerf uses it.

    Args:
        costs: By contender, one a task; infinite where the target was never reached.
        factors: At least one each.
    """
    table = np.array(list(costs.values()), dtype=np.float64)  # (contenders, tasks)
    best = table.min(axis=0)
    reached = np.isfinite(best)
    ratios = np.where(reached, table, np.inf) / np.where(reached, best, 1.0)
    return {
        name: (row[:, None] <= factors).mean(axis=0)
        for name, row in zip(costs, ratios, strict=True)
    }


def _finite(losses: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(losses), losses, np.inf).astype(np.float64)
