"""One network trained with one optimizer in the loop that users write."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from ...support import seed_all, seeded, users_line
from ..contenders import SCHEDULES, Contender, Setting
from ..field import Batch, EvaluationTask, Problem

_CALIBRATION = 20  # batches that give a changed network's batch normalization its statistics


@dataclass(frozen=True, eq=False)
class Run:
    """One training curve.

    Attributes:
        setting: What the optimizer ran with.
        seed: Of the initial weights and the batches.
        losses: Minibatch loss before each step, `(steps,)`; not a number after a failure.
        scores: Of the trained network on held-out data, by name.
        failure: Why the run ended early; empty where it did not.
        raised: Whether it ended with an error, which may be the machine's.
    """

    setting: Setting
    seed: int
    losses: np.ndarray
    scores: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""
    raised: bool = False


def train(task: EvaluationTask, contender: Contender, setting: Setting, seed: int) -> Run:
    """Trains a task's network; whatever the optimizer raises becomes the run's failure."""
    losses = np.full(task.num_steps, np.nan)
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = task.start(seed)
        try:
            optimizer = make_optimizer(contender, problem.model, setting.rate, task.num_steps)
            seed_all(seed)  # making the optimizer may have drawn
            fit(problem, optimizer, losses, SCHEDULES[setting.schedule])
            scores = _score(problem, optimizer) if np.isfinite(losses).all() else {}
        except Exception as error:  # an optimizer's mistake is its result
            return Run(setting, seed, losses, failure=_in_one_line(error), raised=True)
    steps = int(np.isfinite(losses).sum())
    failure = "" if steps == len(losses) else f"the loss is not finite at step {steps}"
    return Run(setting, seed, losses, scores, failure)


def make_optimizer(
    contender: Contender, model: nn.Module, rate: float, num_steps: int
) -> Optimizer:
    """The contender's optimizer of a module.

    Raises:
        TypeError: If the contender has none.
    """
    if contender.make_optimizer is None:
        raise TypeError(f"{contender.name} has no optimizer of a module. Give make_optimizer.")
    return contender.make_optimizer(model, rate, num_steps)


def fit(
    problem: Problem,
    optimizer: Optimizer,
    losses: np.ndarray,
    schedule: Callable[[float], float] = SCHEDULES["constant"],
) -> None:
    """Trains for as many steps as there are `losses`, and fills these in until one is infinite."""
    rates = [group["lr"] for group in optimizer.param_groups]
    _switch(optimizer, "train")
    problem.model.train()
    for step, batch in zip(range(len(losses)), endless(problem.batches), strict=False):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule(step / len(losses))
        optimizer.zero_grad()
        loss = problem.loss(problem.model, batch)
        losses[step] = loss.item()
        if not np.isfinite(losses[step]):
            return
        loss.backward()
        optimizer.step()


def endless(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches again and again.

    Raises:
        ValueError: If they end and do not start again.
    """
    while True:
        batch = None
        for batch in batches:
            yield batch
        if batch is None:
            raise ValueError(
                "the problem's batches ran out. Return a data loader, a list, or a generator "
                "without end."
            )


@contextmanager
def one_thread() -> Iterator[None]:
    """One intra-op thread: the fastest for small networks, and for several processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _score(problem: Problem, optimizer: Optimizer) -> Mapping[str, float]:
    """Held-out figures at the weights that the optimizer wants to be judged by."""
    _switch(optimizer, "eval")
    with torch.no_grad():
        if hasattr(optimizer, "eval") and _has_batch_norm(problem.model):
            for _, batch in zip(range(_CALIBRATION), endless(problem.batches), strict=False):
                problem.loss(problem.model, batch)
        problem.model.eval()
        return problem.score(problem.model)


def _switch(optimizer: Optimizer, mode: str) -> None:
    """Tells a schedule-free optimizer whether its weights are trained or used."""
    getattr(optimizer, mode, lambda: None)()


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def _in_one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    where = users_line(error)
    text = f"{type(error).__name__}: {lines[0] if lines else ''}"
    return f"{text} ({where})" if where else text
