"""Meta-validation: the meta-loss of a rule on held-out tasks that never change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nfn_optim import UpdateRule

from ..estimators import WORST, MetaLoss, advance
from ..inner import InnerConfig, InnerRun, Processes
from ..support import require_counts, require_not_negative
from ..tasks import TaskFamily

_SEEDS = 2**40  # the seeds of training are below


@dataclass(frozen=True)
class ValidationConfig:
    """Meta-validation, which keeps the best result so far.

    The first one comes before the first outer step, so that the best result has a reference; the
    last one after the last.

    Attributes:
        every: Outer steps between meta-validations; 0 for none. Shorter runs have none either.
        runs: Held-out inner runs of a meta-validation.
        steps: Inner steps of each.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    every: int = 400
    runs: int = 4
    steps: int = 200

    def __post_init__(self) -> None:
        require_counts(self, "runs", "steps")
        require_not_negative(self, "every")

    def is_due(self, step: int, outer_steps: int) -> bool:
        """Whether a run of `outer_steps` is validated after step `step`, or before all of them."""
        is_on = 0 < self.every <= outer_steps
        return is_on and (step % self.every == 0 or step == outer_steps)


@dataclass(frozen=True)
class Validation:
    """Held-out runs, the same at every call.

    Attributes:
        family: Where the tasks are drawn from.
        config: Number and length of the runs.
        inner: Size of the runs.
        meta_loss: What is measured.
        seed: Decides the runs.
        processes: Share the runs among them.
    """

    family: TaskFamily
    config: ValidationConfig
    inner: InnerConfig
    meta_loss: MetaLoss
    seed: int
    processes: Processes

    def losses(
        self, rule: UpdateRule, is_ended: Callable[[], bool] = lambda: False
    ) -> Tensor | None:
        """Meta-loss of every run, `(runs,)`, in float64; the worst is `WORST`.

        None where it was given up, because `is_ended` said so in one of the processes.
        """
        losses = torch.zeros(self.config.runs, dtype=torch.float64)
        for first in range(0, len(losses), self.processes.size):
            if self.processes.any(is_ended()):
                return None
            index = first + self.processes.rank
            with self.processes.together():
                if index < len(losses):
                    losses[index] = self._loss(rule, index)
        return self.processes.sum(losses)

    @torch.no_grad()
    def _loss(self, rule: UpdateRule, index: int) -> float:
        steps = self.config.steps
        inner = replace(self.inner, min_horizon=steps, max_horizon=steps)
        run = InnerRun(self.family, rule, inner, _SEEDS + self.seed * self.config.runs + index)
        loss = float(advance(rule, run, steps, self.meta_loss).loss)
        return min(loss, WORST) if loss == loss else WORST
