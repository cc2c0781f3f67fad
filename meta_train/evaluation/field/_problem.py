"""What an optimizer from a package trains: a module, its batches and its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = Any
Loss = Callable[[nn.Module, Batch], Tensor]
Score = Callable[[nn.Module], Mapping[str, float]]


def unscored(model: nn.Module) -> Mapping[str, float]:
    """The score of a problem without held-out data: none."""
    return {}


@dataclass(frozen=True)
class Problem:
    """One network with random initial weights and the batches it is trained on.

    Attributes:
        model: The network.
        batches: Endless, or as many as a run has steps.
        loss: Scalar training loss of the network on a batch.
        score: Figures of the trained network on held-out data, by name.
    """

    model: nn.Module
    batches: Iterable[Batch]
    loss: Loss
    score: Score = unscored


@dataclass(frozen=True)
class Split:
    """Training and held-out samples, each inputs `(samples, ...)` and targets `(samples, ...)`."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def draw(samples: tuple[Tensor, ...], size: int, generator: torch.Generator) -> Iterator[Batch]:
    """Batches of `size` samples, drawn with replacement without end."""
    while True:
        index = torch.randint(len(samples[0]), (size,), generator=generator)
        yield tuple(part[index] for part in samples)


def classification(
    model: nn.Module, data: Split, generator: torch.Generator, *, batch: int = 64
) -> Problem:
    """Cross-entropy of logits `(batch, classes)`; scored by accuracy."""

    def score(model: nn.Module) -> Mapping[str, float]:
        inputs, labels = data.test
        return {"test_accuracy": (model(inputs).argmax(-1) == labels).float().mean().item()}

    return Problem(model, draw(data.train, batch, generator), _cross_entropy, score)


def regression(
    model: nn.Module, data: Split, generator: torch.Generator, *, batch: int = 64
) -> Problem:
    """Mean squared error; scored by the same on held-out data."""
    score = held_out_loss(squared_error, data.test)
    return Problem(model, draw(data.train, batch, generator), squared_error, score)


def held_out_loss(loss: Loss, batch: Batch) -> Score:
    """A score: the training loss on one held-out batch."""
    return lambda model: {"test_loss": loss(model, batch).item()}


def _cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    inputs, labels = batch
    return F.cross_entropy(model(inputs), labels)


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    """Mean over samples and outputs."""
    inputs, targets = batch
    return F.mse_loss(model(inputs), targets)
