"""Counts the runs of a stage of a comparison, for those who watch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...support import Work
from .._statistics import end_loss
from ._job import Job
from ._run import Run


@dataclass
class Tally:
    """Counts the runs of a stage, and what they cost.

    Attributes:
        work: What is told.
        stage: Of what.
    """

    work: Work
    stage: str
    _runs: int = 0
    _done: int = 0
    _cost: float = 0.0
    _kept: float = 0.0

    def add(self, job: Job, cost: float, *, is_kept: bool) -> None:
        """A job that has to be done, or is."""
        self._runs += len(job.keys)
        self._cost += cost
        if is_kept:
            self._done += len(job.keys)
            self._kept += cost

    def begin(self, later: float, now: str) -> None:
        """All jobs were added, and the first ones begin."""
        if not self._runs:
            return
        known = self.work.stages[self.stage]
        total = known.done + self._cost * (1 + later)
        self.work.plan(self.stage, total, seconds=known.estimate)
        self._cost = known.done + self._kept
        self.work.skip(self.stage, self._cost, counted=self._counted())
        if now:
            self.work.begin(self.stage, now)

    def did(self, job: Job, cost: float, runs: Sequence[Run], now: str) -> None:
        """A job is done."""
        self._done += len(job.keys)
        self._cost += cost
        best = min(runs, key=lambda run: float(np.nan_to_num(end_loss(run.losses), nan=np.inf)))
        loss, rate = float(end_loss(best.losses)), best.setting.rate
        last = f"{job.task.name} by {job.contender.name}: end loss {loss:.3g} at rate {rate:.2g}"
        self.work.tell(self.stage, self._cost, counted=self._counted(), now=now, last=last)

    def _counted(self) -> str:
        return f"{self._done:,} of {self._runs:,} runs"
