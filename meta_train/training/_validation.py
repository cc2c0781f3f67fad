"""Meta-validation: the meta-loss of a rule on held-out tasks that never change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nfn_optim import UpdateRule

from ..estimators import WORST, advance
from ..inner import InnerRun, Processes, TrainConfig
from ..tasks import TaskFamily

_SEEDS = 2**40  # the seeds of training are below


@dataclass(frozen=True)
class Validation:
    """Held-out runs, the same at every call.

    Attributes:
        family: Where the tasks are drawn from.
        config: Number and length of the runs.
        processes: Share the runs among them.
    """

    family: TaskFamily
    config: TrainConfig
    processes: Processes

    @torch.no_grad()
    def losses(self, rule: UpdateRule) -> Tensor:
        """Meta-loss of every run, `(runs,)`, in float64; the worst is `WORST`."""
        steps = self.config.validation_steps
        config = replace(self.config, min_horizon=steps, max_horizon=steps)
        losses = torch.zeros(config.validation_runs, dtype=torch.float64)
        for index in range(config.validation_runs):
            if self.processes.owns(index):
                seed = _SEEDS + config.seed * config.validation_runs + index
                run = InnerRun(self.family, rule, config, seed)
                piece = advance(rule, run, steps, config.loss_floor, held_out=config.held_out)
                loss = float(piece.loss)
                losses[index] = min(loss, WORST) if loss == loss else WORST
        return self.processes.sum(losses)
