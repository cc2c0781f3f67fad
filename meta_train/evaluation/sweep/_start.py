"""A look at every problem before the long run: whether it can be trained, and what it is."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from ...support import fingerprint, seeded
from ..field import EvaluationTask
from ._packages import files_of
from ._run import endless

_BATCHES = 3


@dataclass(frozen=True)
class Start:
    """Where a task's runs from a seed start.

    Attributes:
        fingerprint: Of the code that poses the problem, the initial weights and the first losses.
        seconds: A forward and backward pass; the fastest of a few.
        num_weights: That are trained.
    """

    fingerprint: str
    seconds: float
    num_weights: int


def look_at(task: EvaluationTask, seed: int) -> Start:
    """Poses the problem, and computes its first losses and gradients.

    Raises:
        ValueError: If the first loss is not one finite number with a gradient.
    """
    files = [files_of(package) for package in task.packages]
    losses: list[str] = []
    with seeded(seed):
        problem = task.start(seed)
        trained = [p for p in problem.model.parameters() if p.requires_grad]
        initial = {name: p.detach().clone() for name, p in problem.model.named_parameters()}
        seconds = np.inf
        for _, batch in zip(range(_BATCHES), endless(problem.batches), strict=False):
            start = time.process_time()
            loss = problem.loss(problem.model, batch)
            _check(task, loss)
            torch.autograd.grad(loss, trained, allow_unused=True)
            seconds = min(seconds, time.process_time() - start)
            losses.append(f"{loss.item():.3e}")
    return Start(
        fingerprint(task.problem, files, initial, losses), seconds, sum(p.numel() for p in trained)
    )


def _check(task: EvaluationTask, loss: object) -> None:
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise ValueError(
            f"task {task.name!r}: the loss must be a scalar tensor that depends on the model's "
            f"weights; got {loss!r:.80}. Return one from loss(model, batch)."
        )
    if not loss.isfinite():
        raise ValueError(
            f"task {task.name!r}: the loss is {loss.item()} before the first step. Check the data "
            "for infinite or missing values, and the initial weights."
        )
