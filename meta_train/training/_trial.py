"""One trial of everything that a run repeats: whether it works, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ..estimators import advance
from ..inner import InnerRun
from ..support import Work
from ._forecast import inner_steps, validations
from ._trainer import MetaTrainer

OUTER_STEPS, VALIDATIONS = "outer steps", "meta-validations"
"""Stages of a run."""

_SEEDS = range(8)  # the run leaves out single estimates that are not finite, too
_WARM_UP = 2  # inner steps that compile and load what is needed


@dataclass(frozen=True)
class Trial:
    """What a trial found.

    Attributes:
        steps: Inner steps of its estimate.
        estimate: Seconds of an inner step of an estimate.
        validation: Seconds of an inner step of a meta-validation; 0 where there is none.
    """

    steps: int
    estimate: float
    validation: float

    def plan(self, work: Work, trainer: MetaTrainer, later: Mapping[str, int]) -> None:
        """Says how long the run takes, by this trial.

        Args:
            work: What is told.
            trainer: The run.
            later: Inner steps of the stages that come after it.
        """
        config, validation = trainer.config, trainer.config.validation
        steps = inner_steps(trainer.estimator, config.inner, self.steps)
        runs = config.inner.runs_per_step / trainer.pool.runs_among.size
        held_out = validation.runs / trainer.processes.size
        work.plan(OUTER_STEPS, config.outer_steps, seconds=self.estimate * steps * runs)
        work.skip(OUTER_STEPS, trainer.step)
        work.plan(
            VALIDATIONS,
            validations(config, trainer.step),
            seconds=self.validation * validation.steps * held_out,
        )
        for stage, count in later.items():
            work.plan(stage, 1, seconds=count * (self.validation or self.estimate))


def try_out(trainer: MetaTrainer) -> Trial:
    """Estimates on runs of the shortest length; the trainer stays as it is.

    Raises:
        ValueError: If none of a few estimates is finite.
    """
    _estimate(trainer, _WARM_UP)
    steps, seconds = _estimate(trainer, trainer.config.inner.min_horizon)
    return Trial(steps, seconds / steps, _validation(trainer) if _validates(trainer) else 0.0)


def _estimate(trainer: MetaTrainer, horizon: int) -> tuple[int, float]:
    """Inner steps of an estimate, and seconds that they took."""
    config = trainer.config
    inner = replace(config.inner, min_horizon=horizon, max_horizon=horizon)
    for seed in _SEEDS:
        run = InnerRun(trainer.family, trainer.rule, inner, seed, trainer.pool.particles_among)
        start = time.perf_counter()
        estimate = trainer.estimator.estimate(trainer.rule, run, config.meta_loss)
        seconds = time.perf_counter() - start
        if all(bool(g.isfinite().all()) for g in estimate.grads.values()):
            return run.steps, seconds
    raise ValueError(
        f"the meta-gradients of {len(_SEEDS)} trial steps are not finite (the last meta-loss is "
        f"{estimate.loss}). Try a smaller --initial-lr, or check the family of tasks."
    )


def _validates(trainer: MetaTrainer) -> bool:
    last = trainer.config.outer_steps
    return trainer.config.validation.is_due(last, last)


@torch.no_grad()
def _validation(trainer: MetaTrainer) -> float:
    """Seconds of an inner step of a meta-validation."""
    steps = min(trainer.config.validation.steps, trainer.config.inner.min_horizon)
    inner = replace(trainer.config.inner, min_horizon=steps, max_horizon=steps)
    run = InnerRun(trainer.validation.family, trainer.rule, inner, 0)
    start = time.perf_counter()
    advance(trainer.rule, run, steps, trainer.config.meta_loss)
    return (time.perf_counter() - start) / steps
