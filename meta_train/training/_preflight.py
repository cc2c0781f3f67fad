"""Checks that end a run before it has cost anything: one look at the tasks, one trial step."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from ..inner import InnerRun
from ..tasks import Task, TaskFamily
from ._trainer import MetaTrainer

_SEEDS = (0, 1, 2)


def check_family(family: TaskFamily) -> None:
    """Draws a few tasks and looks at each.

    Raises:
        ValueError: If a task's networks or batches are not decided by the generator, its loss is
            no finite scalar at the start, or does not depend on the parameters.
    """
    for seed in _SEEDS:
        task = family.sample(_seeded(seed))
        params, batch = task.init(_seeded(seed)), task.batch(_seeded(seed))
        _check_same(params, task.init(_seeded(seed)), "initial parameters")
        _check_same(batch, task.batch(_seeded(seed)), "batches")
        twin = family.sample(_seeded(seed))
        _check_same(params, twin.init(_seeded(seed)), "initial parameters of equal tasks")
        _check_same(batch, twin.batch(_seeded(seed)), "batches of equal tasks")
        _check_loss(task, params, batch)


def _check_loss(task: Task, params: dict[str, Tensor], batch: Any) -> None:
    points = {n: p if n in task.carried else p.detach().requires_grad_() for n, p in params.items()}
    loss = task.loss(points, batch)
    if loss.dim():
        raise ValueError(
            "a task's loss must be one scalar for one network; "
            f"got shape {tuple(loss.shape)}. Average it over the batch."
        )
    if not loss.isfinite():
        raise ValueError(
            f"a task's loss is {float(loss.detach())} at the start of training. "
            "Check the data and the initial parameters."
        )
    if float(loss.detach()) < 0:
        raise ValueError(
            f"a task's loss is negative ({float(loss.detach()):.4g}), and the meta-loss is its "
            "logarithm. Add a constant, so that the smallest possible loss is 0."
        )
    if not loss.requires_grad:
        raise ValueError(
            "a task's loss does not depend on the parameters it is given. "
            "Call the module with torch.func.functional_call(module, params, ...)."
        )


def _check_same(first: Any, second: Any, what: str) -> None:
    pairs = zip(_pytree.tree_leaves(first), _pytree.tree_leaves(second), strict=True)
    for one, other in pairs:
        if isinstance(one, Tensor) and not torch.equal(one.nan_to_num(), other.nan_to_num()):
            raise ValueError(
                f"{what} differ between generators of one seed. Draw all randomness from the "
                "generator that is passed, e.g. torch.randn(..., generator=generator)."
            )


def trial_step(trainer: MetaTrainer) -> tuple[float, int]:
    """One estimate on a run of the shortest length; the trainer stays as it is.

    Returns:
        Seconds that it took, and its inner steps.

    Raises:
        ValueError: If the estimate is not finite.
    """
    config = trainer.config
    shortest = replace(config.inner, max_horizon=config.inner.min_horizon)
    run = InnerRun(trainer.family, trainer.rule, shortest, 0, trainer.pool.particles_among)
    start = time.perf_counter()
    estimate = trainer.estimator.estimate(trainer.rule, run, config.meta_loss)
    seconds = time.perf_counter() - start
    if not all(bool(g.isfinite().all()) for g in estimate.grads.values()):
        raise ValueError(
            f"the meta-gradient of a trial step is not finite (meta-loss {estimate.loss}). "
            "Try a smaller --initial-lr, or check the family of tasks."
        )
    return seconds, run.steps


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
