"""What an evaluation measured, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["judged", "tuned", "untuned"]


@dataclass(frozen=True)
class Measured:
    """One figure over seeds.

    Attributes:
        mean: Mean over seeds.
        std: Standard deviation over seeds.
        per_seed: One value a seed.
        rate: Learning rate behind it.
        schedule: Schedule behind it.
    """

    mean: float
    std: float
    per_seed: tuple[float, ...]
    rate: float
    schedule: str


@dataclass(frozen=True)
class Curve:
    """A smoothed training curve, at a few dozen steps.

    Attributes:
        steps: Where, or when.
        mean: Over seeds.
        low: Of the best seed.
        high: Of the worst seed.
    """

    steps: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A contender on a task.

    Attributes:
        task: Its name.
        contender: Its name.
        group: Whether it is judged, or a peer that was tuned or not.
        end_loss: Mean of the last tenth of the training losses, at the setting that is best for it.
        mean_loss: Mean of all training losses, at the setting that is best for that.
        scores: On held-out data, at the setting with the best end loss.
        steps_to: By peer, steps to the peer's end loss, one a seed; infinite where never.
        seconds_per_step: None where it could not be measured.
        peak_bytes: Alive in a step beyond the weights; None where it could not be measured.
        num_diverged: Diverged runs of all.
        num_runs: All runs, with those that tuned it.
        failure: Why its best runs ended early; empty where they did not.
        added_rates: Learning rates added because the best one was at an end of the grid.
        at_an_end: Whether the best rate still is one.
        curve: At the setting with the best end loss.
    """

    task: str
    contender: str
    group: Group
    end_loss: Measured
    mean_loss: Measured
    scores: dict[str, Measured]
    steps_to: dict[str, tuple[float, ...]]
    seconds_per_step: float | None
    peak_bytes: int | None
    num_diverged: int
    num_runs: int
    failure: str
    added_rates: tuple[float, ...]
    at_an_end: bool
    curve: Curve

    def seconds_to(self, peer: str) -> float | None:
        """Seconds to a peer's end loss, a mean over seeds; infinite where a seed never gets there.

        None where seconds could not be measured.
        """
        if self.seconds_per_step is None:
            return None
        return self.seconds_per_step * sum(self.steps_to[peer]) / len(self.steps_to[peer])


@dataclass(frozen=True)
class TaskInfo:
    """A task that was trained.

    Attributes:
        name: Its name.
        num_steps: Steps of a run.
        num_weights: Weights that are trained.
    """

    name: str
    num_steps: int
    num_weights: int


@dataclass(frozen=True)
class Evaluation:
    """A comparison on several tasks.

    Attributes:
        tasks: What was trained.
        seeds: From where.
        rows: One for every contender on every task.
    """

    tasks: tuple[TaskInfo, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    def names(self, *groups: Group) -> list[str]:
        """The contenders of these groups, in order."""
        return list(dict.fromkeys(row.contender for row in self.rows if row.group in groups))

    def row(self, task: str, contender: str) -> Row:
        """What a contender did on a task."""
        return next(r for r in self.rows if (r.task, r.contender) == (task, contender))

    def of(self, contender: str) -> list[Row]:
        """What a contender did, one a task."""
        return [self.row(task.name, contender) for task in self.tasks]
