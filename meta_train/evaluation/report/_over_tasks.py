"""Contenders over all tasks: speed-ups over a peer, and performance profiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _statistics as statistics
from ._results import Evaluation, Group, Row

FACTORS = np.geomspace(1, 8, 57)


@dataclass(frozen=True)
class Versus:
    """A contender beside a peer over all tasks.

    A speed-up is the length of the run over the steps to the peer's end loss; 0 where it is never
    reached.

    Attributes:
        contender: Who is judged.
        peer: Beside whom.
        num_tasks: Tasks on which the peer did not fail: the others are left out.
        num_reached: Those on which every seed reaches the peer's end loss.
        median: Of the tasks' mean speed-ups.
        iqm: Interquartile mean over tasks and seeds.
        interval: Its 95% bootstrap interval; None for one task.
        worst: The smallest of the tasks' mean speed-ups.
        worst_task: Where that is.
        seconds: Median of the tasks' speed-ups in seconds; None where a time is missing.
        loss_ratio: Median of end losses over the peer's.
    """

    contender: str
    peer: str
    num_tasks: int
    num_reached: int
    median: float
    iqm: float
    interval: tuple[float, float] | None
    worst: float
    worst_task: str
    seconds: float | None
    loss_ratio: float


def versus(evaluation: Evaluation, contender: str, peer: str) -> Versus | None:
    """One contender beside one peer; None where the peer failed on every task."""
    rows = zip(evaluation.tasks, evaluation.of(contender), evaluation.of(peer), strict=True)
    kept = [(task, a, b) for task, a, b in rows if np.isfinite(b.end_loss.mean)]
    if not kept:
        return None
    lengths = np.array([[task.num_steps] for task, _, _ in kept], dtype=np.float64)
    speedups = lengths / np.array([own.steps_to[peer] for _, own, _ in kept])  # (tasks, seeds)
    means = speedups.mean(axis=1)
    pairs = [(own, theirs) for _, own, theirs in kept]
    factors = [_seconds_ratio(a, b) for a, b in pairs]
    timed = [m * f for m, f in zip(means, factors, strict=True) if f is not None]
    return Versus(
        contender,
        peer,
        num_tasks=len(kept),
        num_reached=int((speedups > 0).all(axis=1).sum()),
        median=float(np.median(means)),
        iqm=float(statistics.interquartile_mean(list(speedups))),
        interval=statistics.bootstrap_interval(speedups),
        worst=float(means.min()),
        worst_task=kept[int(means.argmin())][0].name,
        seconds=float(np.median(timed)) if timed else None,
        loss_ratio=float(np.median([_ratio(a, b) for a, b in pairs])),
    )


def profile(evaluation: Evaluation, group: Group, *, in_seconds: bool) -> dict[str, np.ndarray]:
    """Share of tasks on which each contender reaches the target within a factor of the fastest.

    The target is the end loss of the group's first peer. Those judged are in every group.

    Args:
        evaluation: What was measured.
        group: Which peers.
        in_seconds: Whether the cost is seconds, not steps.
    """
    target = evaluation.names(group)[0]
    costs = {
        name: [_cost(row, target, in_seconds) for row in evaluation.of(name)]
        for name in evaluation.names("judged", group)
    }
    return statistics.performance_profile(costs, FACTORS)


def _cost(row: Row, target: str, in_seconds: bool) -> float:
    seconds = row.seconds_to(target) if in_seconds else float(np.mean(row.steps_to[target]))
    return np.inf if seconds is None else seconds


def _seconds_ratio(own: Row, theirs: Row) -> float | None:
    if own.seconds_per_step is None or theirs.seconds_per_step is None:
        return None
    return theirs.seconds_per_step / own.seconds_per_step


def _ratio(own: Row, theirs: Row) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.float64(own.end_loss.mean) / theirs.end_loss.mean)
