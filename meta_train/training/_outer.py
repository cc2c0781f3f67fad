"""The outer optimizer: what moves the meta-parameters, and at which rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ..support import require_not_negative, require_positive


@dataclass(frozen=True)
class OuterConfig:
    """How the meta-parameters move along their gradient.

    Attributes:
        optimizer: Outer optimizer, a class of `torch.optim`.
        lr: Peak outer learning rate.
        final_lr: Outer learning rate at the end of the cosine.
        warmup: Outer steps of linear warm-up.
        weight_decay: Weight decay of the outer optimizer.
        clip: Largest norm of a run's meta-gradient, before averaging over runs.
        ema: Decay of the average of the meta-parameters that is kept as the result.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    optimizer: str = "Adam"
    lr: float = 1e-3
    final_lr: float = 5e-5
    warmup: int = 100
    weight_decay: float = 0.0
    clip: float = 0.5
    ema: float = 0.99

    def __post_init__(self) -> None:
        require_positive(self, "lr", "clip")
        require_not_negative(self, "final_lr", "warmup", "weight_decay")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1); got {self.ema}.")
        if not hasattr(torch.optim, self.optimizer):
            raise ValueError(
                f"torch.optim has no {self.optimizer!r}. Give the name of a class, e.g. AdamW."
            )

    def lr_at(self, step: int, outer_steps: int) -> float:
        """Rate of one of `outer_steps`: linear warm-up, then a cosine from `lr` to `final_lr`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, outer_steps - self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return self.final_lr + (self.lr - self.final_lr) * cosine


def make_optimizer(config: OuterConfig, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The outer optimizer, of those parameters that want a gradient.

    Raises:
        ValueError: If the class is no optimizer with a rate and a decay.
    """
    trained = [p for p in params if p.requires_grad]
    make = getattr(torch.optim, config.optimizer)
    try:
        optimizer = make(trained, lr=config.lr, weight_decay=config.weight_decay)
    except TypeError as error:
        raise ValueError(
            f"torch.optim.{config.optimizer} cannot be the outer optimizer: {error}. "
            "Choose one that takes lr and weight_decay, e.g. AdamW."
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(f"torch.optim.{config.optimizer} is no optimizer. Choose e.g. AdamW.")
    return optimizer
