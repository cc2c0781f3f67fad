"""What a case is: a network, its batches and its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Generator, Tensor, nn

Draw = Callable[[Generator], Any]


@dataclass(frozen=True)
class Case:
    """Something that people train.

    Attributes:
        make: Builds the network, at random.
        draw: A batch.
        loss: Of the network on a batch.
        steps: Length of a run.
    """

    make: Callable[[], nn.Module]
    draw: Draw
    loss: Callable[[Any, Any], Tensor]
    steps: int = 150


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def squares(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.mse_loss(model(batch[0]), batch[1])


def yes_or_no(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """The last tensor of the batch is the answer to the others."""
    *inputs, answer = batch
    return F.binary_cross_entropy_with_logits(model(*inputs).flatten(), answer.float())


@cache
def table(name: str) -> tuple[Tensor, Tensor]:
    """A data set of scikit-learn, with its values as they are."""
    found = getattr(datasets, f"load_{name}")()
    return torch.tensor(found.data, dtype=torch.float32), torch.tensor(found.target)


def rows(x: Tensor, y: Tensor, size: int = 64) -> Draw:
    """Batches of a data set."""

    def draw(generator: Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(0, len(x), (size,), generator=generator)
        return x[chosen], y[chosen]

    return draw


def digits(size: int = 64) -> Draw:
    """Images of 8 x 8 pixels as rows of 64 numbers up to 1."""
    x, y = table("digits")
    return rows(x / 16, y, size)
