"""Whether a rule may become the default: better than no learning, no worse than the default."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ._speedup import speedup
from .report import Evaluation, Row

_MEDIAN_SPEEDUP = 1.05  # over the rule that has learned nothing
_WORST_SPEEDUP = 0.9
_WORST_LOSS = 1.1  # end loss over that of the rule that has learned nothing
_LOST = 0.1  # share of what a long run had gained that it may lose until its end


@dataclass(frozen=True)
class Condition:
    """One thing that is asked of a candidate.

    Attributes:
        asked: In words, with its bound.
        figure: What was measured.
        holds: Whether that is enough.
        where: The task behind the figure, where it is that of one task.
    """

    asked: str
    figure: float
    holds: bool
    where: str = ""


def gate(
    evaluation: Evaluation,
    candidate: str,
    untrained: str,
    default: str | None = None,
    *,
    long: Collection[str] = (),
) -> list[Condition]:
    """What is asked of a candidate before it may become the default; it may where all holds.

    Args:
        evaluation: All of them on the same tasks and seeds.
        candidate: Name of the contender that is judged.
        untrained: Name of the rule that has learned nothing.
        default: Name of the present default; None where that has learned nothing either.
        long: Names of those tasks whose runs are long: there it must only keep what it reaches.
    """
    tasks = [task.name for task in evaluation.tasks if task.name not in long]
    own, base = ([evaluation.row(task, name) for task in tasks] for name in (candidate, untrained))
    pairs = list(zip(own, base, strict=True))
    speedups, losses = ([measure(a, b) for a, b in pairs] for measure in (speedup, loss_ratio))
    worst, highest = int(np.argmin(speedups)), int(np.argmax(losses))
    over, of = f"speed-up over {untrained}", f"end loss over that of {untrained}"
    found = [
        _at_least(f"median {over}", float(np.median(speedups)), _MEDIAN_SPEEDUP),
        _at_least(f"worst {over}", speedups[worst], _WORST_SPEEDUP, tasks[worst]),
        _median_loss(losses, untrained),
        _at_most(f"highest {of}", losses[highest], _WORST_LOSS, tasks[highest]),
    ]
    if default is not None:
        beside = zip(own, (evaluation.row(task, default) for task in tasks), strict=True)
        found.append(_median_loss([loss_ratio(a, b) for a, b in beside], default))
    if long:
        most, where = max((_lost(evaluation.row(task, candidate)), task) for task in long)
        found.append(_at_most("share of its gains that a long run loses", most, _LOST, where))
    diverged, allowed = (
        sum(row.num_diverged for row in evaluation.of(name)) for name in (candidate, untrained)
    )
    return [*found, _at_most("diverged runs", diverged, allowed)]


def loss_ratio(own: Row, base: Row) -> float:
    """End loss over another contender's; infinite where a run failed."""
    loss, reference = own.end_loss.mean, base.end_loss.mean
    return loss / reference if math.isfinite(loss) and reference else math.inf


def _lost(row: Row) -> float:
    """Of what the loss had gone down by, how much is lost at the end; infinite where it failed."""
    first, lowest, end = row.curve.mean[0], min(row.curve.mean), row.end_loss.mean
    return (end - lowest) / (first - lowest) if math.isfinite(end) and lowest < first else math.inf


def _median_loss(ratios: Sequence[float], name: str) -> Condition:
    return _at_most(f"median end loss over that of {name}", float(np.median(ratios)), 1)


def _at_least(what: str, figure: float, bound: float, where: str = "") -> Condition:
    return Condition(f"{what} >= {bound}", figure, figure >= bound, where)


def _at_most(what: str, figure: float, bound: float, where: str = "") -> Condition:
    return Condition(f"{what} <= {bound}", figure, figure <= bound, where)
