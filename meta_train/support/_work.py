"""Long work in stages: what is done, what is running, and how long all that is left takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ._duration import duration

_MEMORY = 0.995  # a stage's pace is the mean of about its last 200 tellings
_TRUST = 0.02  # an estimate counts as much as this part of a stage
_DOUBT = 0.02  # that estimates are right counts as much as this part of all of them


@dataclass
class Stage:
    """A part of long work.

    Attributes:
        name: What it is called.
        total: How many units it has; None where that is not known yet.
        estimate: Seconds of a unit, as far as they can be known beforehand.
        kind: Stages of one kind have about equal units.
        done: Units that are done.
        counted: The same in words, where units mean nothing to people.
    """

    name: str
    total: float | None = None
    estimate: float | None = None
    kind: str = ""
    done: float = 0.0
    counted: str = ""
    _units: float = 0.0
    _seconds: float = 0.0
    _times: float = 0.0

    @property
    def share(self) -> float:
        """What is done, from 0 to 1."""
        if self.total is None:
            return 0.0
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def count(self) -> str:
        """What is done of all; empty where that is not known."""
        if self.counted or self.total is None:
            return self.counted
        if self.total % 1:  # seconds, not things
            return f"{self.share:.0%}"
        return f"{self.done:,.0f} of {self.total:,.0f}"

    @property
    def left(self) -> float:
        """Units that are left."""
        return max(0.0, (self.total or 0.0) - self.done)

    def measured(self, units: float, seconds: float) -> None:
        """Takes account of units that were done in a time."""
        self._units = _MEMORY * self._units + units
        self._seconds = _MEMORY * self._seconds + seconds
        self._times = _MEMORY * self._times + 1

    @property
    def interval(self) -> float:
        """Seconds from one word of the stage to the next."""
        return self._seconds / self._times if self._times else 0.0

    def seconds(self) -> tuple[float, float, float]:
        """Measured, estimated for the same, and estimated for all; zeros without an estimate."""
        if self.estimate is None:
            return 0.0, 0.0, 0.0
        return self._seconds, self._units * self.estimate, (self.total or 0.0) * self.estimate

    def pace(self, factor: float) -> float | None:
        """Seconds of a unit; None where they are not known.

        Args:
            factor: What estimates have to be multiplied by, as other stages say.
        """
        if self.estimate is None:
            return self._seconds / self._units if self._units else None
        trust = _TRUST * (self.total or 1.0)
        return (self._seconds + trust * factor * self.estimate) / (self._units + trust)


class Work:
    """What long work tells of itself; as a string, a line.

    Every stage is planned before the first one begins, so that the time left is that of all.

    Args:
        observe: Called with this after every change.

    Attributes:
        stages: By name, in order.
        running: Name of the stage that runs.
        now: What of it is running.
        last: The last figures.
    """

    def __init__(self, observe: Observer = lambda work: None) -> None:
        self.stages: dict[str, Stage] = {}
        self.running = self.now = self.last = ""
        self._observe = observe
        self._started = self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def needed(self) -> list[Stage]:
        """The stages that have anything to do, in order."""
        return [stage for stage in list(self.stages.values()) if stage.total != 0]

    def plan(
        self,
        name: str,
        total: float | None = None,
        *,
        seconds: float | None = None,
        kind: str = "",
    ) -> None:
        """Announces a stage, or what has become known of one.

        Args:
            name: Which.
            total: Units of it.
            seconds: Of a unit, as an estimate; without, the pace of stages of its kind counts.
            kind: What has equal units.
        """
        stage = self.stages.setdefault(name, Stage(name))
        stage.total, stage.estimate, stage.kind = total, seconds, kind
        self._observe(self)

    def begin(self, name: str, now: str = "") -> None:
        """A stage begins, or another part of it."""
        self.running, self.now, self._told = name, now, time.monotonic()
        self._observe(self)

    def tell(
        self,
        name: str,
        done: float,
        *,
        counted: str = "",
        now: str | None = None,
        last: str | None = None,
    ) -> None:
        """Units of a stage were done since the last word.

        Args:
            name: Which stage.
            done: All that are done.
            counted: The same in words.
            now: What runs next.
            last: The last figures.
        """
        stage, at = self.stages[name], time.monotonic()
        if done > stage.done:
            stage.measured(done - stage.done, at - self._told)
            self._told = at
        stage.done, stage.counted = done, counted
        self.running = name
        self.now = self.now if now is None else now
        self.last = self.last if last is None else last
        self._observe(self)

    def skip(self, name: str, done: float, *, counted: str = "") -> None:
        """Units of a stage are done already: they say nothing about its pace."""
        stage = self.stages[name]
        stage.done, stage.counted, self._told = done, counted, time.monotonic()
        self._observe(self)

    def end(self, name: str) -> None:
        """A stage is over, whatever was planned."""
        stage = self.stages[name]
        if stage.total is None:
            stage.total = 1.0
        self.skip(name, stage.total, counted=stage.counted)

    def seconds_left(self) -> float | None:
        """Seconds that all that is left takes, about; None where that cannot be said yet."""
        stages = list(self.stages.values())
        if not stages or any(stage.total is None for stage in stages):
            return None
        left, factor, since = 0.0, self._factor(), time.monotonic() - self._told
        for stage in stages:
            if stage.left:
                pace = self._pace(stage, factor)
                if pace is None:
                    return None
                spent = min(since, stage.interval) if stage.name == self.running else 0.0
                left += max(0.0, stage.left * pace - spent)
        return left

    def _pace(self, stage: Stage, factor: float) -> float | None:
        """A stage's own pace, or that of its kind."""
        own = stage.pace(factor)
        if own is not None:
            return own
        alike = [s.pace(factor) for s in list(self.stages.values()) if s.kind == stage.kind]
        known = [pace for pace in alike if pace is not None]
        return sum(known) / len(known) if known else None

    def _factor(self) -> float:
        """What was measured over what was estimated, of all stages together; at first about 1."""
        known = [stage.seconds() for stage in list(self.stages.values())]
        measured, estimated, all_ = (sum(column) for column in zip(*known, strict=True))
        return (measured + _DOUBT * all_) / (estimated + _DOUBT * all_) if all_ else 1.0

    @property
    def share(self) -> float:
        """What is done of all, by time; 0 where that cannot be said yet."""
        left = self.seconds_left()
        return 0.0 if left is None or not self.seconds else self.seconds / (self.seconds + left)

    def time_left(self) -> str:
        """The time left in words."""
        seconds = self.seconds_left()
        return "time left not known yet" if seconds is None else f"about {duration(seconds)} left"

    def __str__(self) -> str:
        stages = self.needed()
        stage = next((stage for stage in stages if stage.name == self.running), None)
        if stage is None:
            return self.time_left()
        of_all = f"stage {stages.index(stage) + 1} of {len(stages)}" if len(stages) > 1 else ""
        parts = (stage.count, of_all, self.time_left(), self.now and f"now {self.now}", self.last)
        return f"{stage.name}: {', '.join(part for part in parts if part)}"


Observer = Callable[[Work], None]
"""Told of every change of long work; `print` is one."""
