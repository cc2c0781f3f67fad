"""The one loop that all suites train a network with."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ...support import Progress, require_counts


class Learnable(Protocol):
    """What a model learns from: `Examples`, or networks of several specs."""

    @property
    def features(self) -> Any:
        """What the model reads."""

    @property
    def targets(self) -> Tensor:
        """What it should write."""

    def __len__(self) -> int: ...

    def take(self: L, index: Tensor | slice) -> L:
        """Some of the examples."""


L = TypeVar("L", bound=Learnable)


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a network is trained: AdamW, a linear warm-up, a cosine, the best of many validations.

    Attributes:
        num_steps: Steps at most.
        batch_size: Examples a step.
        lr: Learning rate after the warm-up.
        weight_decay: AdamW's; 0 is Adam.
        warmup: Steps of the warm-up.
        final_lr: Learning rate of the last step, as a part of `lr`; 1 keeps it constant.
        eval_every: Steps between validations; the best network of all counts.

    Raises:
        ValueError: If a number is out of range.
    """

    num_steps: int
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 0
    final_lr: float = 1.0
    eval_every: int = 100

    def __post_init__(self) -> None:
        require_counts(self, "num_steps", "batch_size", "eval_every")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive and finite; got {self.lr}.")
        if min(self.weight_decay, self.warmup, self.final_lr) < 0:
            raise ValueError(f"weight_decay, warmup and final_lr must not be negative; got {self}.")

    def rate(self, step: int) -> float:
        """Multiplier of `lr` at a step, counted from 0."""
        progress = step / max(1, self.num_steps - 1)
        cosine = self.final_lr + (1 - self.final_lr) * (1 + math.cos(math.pi * progress)) / 2
        return cosine * min(1.0, (step + 1) / (self.warmup + 1))


@dataclass(frozen=True)
class Objective(Generic[L]):
    """What is trained for, and what is measured.

    Attributes:
        loss: Computes the loss of predictions and targets `(n, ...)`, averaged over `n`.
        score: Computes the score of all predictions and targets of a split.
        lower_is_better: Whether a low score is a good one.
        augment: Changes every training batch.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]
    lower_is_better: bool = False
    augment: Callable[[L, torch.Generator], L] | None = None

    def is_better(self, score: float, best: float) -> bool:
        """Whether a score beats another; anything beats NaN, and NaN nothing but NaN."""
        if math.isnan(score) or math.isnan(best):
            return math.isnan(best)
        return score < best if self.lower_is_better else score > best


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's own generator, for initialisations and dropout, and restores it after that."""
    index = device.index or 0
    with torch.random.fork_rng(devices=[index] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def fit(
    model: nn.Module,
    train: L,
    validation: L,
    objective: Objective[L],
    config: FitConfig,
    seed: int,
    on_progress: Progress,
) -> tuple[float, float]:
    """Trains a model in place and leaves it as it was at its best validation.

    Where no validation has a score (all are NaN), that is the last.

    Args:
        model: From features to predictions.
        train: Examples for training.
        validation: Examples for validation.
        objective: Loss, score and augmentation.
        config: Steps and rates.
        seed: Draws batches and augmentations; dropout follows torch's own generator.
        on_progress: Told how many steps are done.

    Returns:
        The best validation score, and seconds of training.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, config.rate)
    batches = _batches(train, config.batch_size, generator)
    best, best_state = math.nan, model.state_dict()
    start = time.perf_counter()
    for step in range(1, config.num_steps + 1):
        batch = next(batches)
        if objective.augment is not None:
            batch = objective.augment(batch, generator)
        model.train()
        optimizer.zero_grad()
        objective.loss(model(batch.features), batch.targets).backward()
        optimizer.step()
        schedule.step()
        if step % config.eval_every == 0 or step == config.num_steps:
            score = objective.score(predict(model, validation), validation.targets)
            if objective.is_better(score, best):
                best, best_state = score, copy.deepcopy(model.state_dict())
        on_progress(step, config.num_steps)
    model.load_state_dict(best_state)
    return best, time.perf_counter() - start


@torch.no_grad()
def predict(model: nn.Module, examples: Learnable, batch_size: int = 128) -> Tensor:
    """A model's predictions `(n, ...)` for all examples, without dropout."""
    model.eval()
    pieces = [slice(i, i + batch_size) for i in range(0, len(examples), batch_size)]
    return torch.cat([model(examples.take(piece).features) for piece in pieces])


def _batches(examples: L, size: int, generator: torch.Generator) -> Iterator[L]:
    """Endless minibatches, every epoch in a new order; a short one at its end is left out."""
    while True:
        order = torch.randperm(len(examples), generator=generator).to(examples.targets.device)
        for index in order.split(size)[: max(1, len(order) // size)]:
            yield examples.take(index)
