"""A drawn network on drawn samples as a task, with what may make its training harder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._base import ModuleTask
from .._draw import Dice
from .._samples import Split, draw_init_scale
from ..architectures import Budget, Builder, draw_initial

Architecture = Callable[[Dice, Tensor, int], Builder]
"""Draws a network for a sample `(1, ...)` and a number of outputs."""
LossFn = Callable[[Any, Any], Tensor]


def squared_scores(scores: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of the scores from one for the class and zero for the others."""
    return F.mse_loss(scores, F.one_hot(labels, scores.shape[-1]).to(scores.dtype))


_CLASS_LOSSES: tuple[LossFn, ...] = (
    *(4 * (F.cross_entropy,)),
    partial(F.cross_entropy, label_smoothing=0.1),
    squared_scores,
)
_NUMBER_LOSSES: tuple[LossFn, ...] = (F.mse_loss, F.mse_loss, F.smooth_l1_loss, F.l1_loss)


def pose(
    dice: Dice,
    draw: Callable[[Dice], Builder],
    data: Split,
    loss: LossFn,
    budget: Budget,
    kind: type[ModuleTask] = ModuleTask,
) -> ModuleTask:
    """A network within the budget on the samples, with drawn batches and initial weights."""
    build, batch = budget.draw(dice, draw, data.inputs[:1])
    return kind(
        draw_initial(dice, build),
        loss,
        (data.inputs, data.labels),
        validation_data=(data.held_inputs, data.held_labels),
        batch_size=batch,
        init_scale=draw_init_scale(dice),
    )


def classifier(dice: Dice, architecture: Architecture, data: Split, budget: Budget) -> ModuleTask:
    """Classes from samples: rare classes and wrong labels now and then, held-out ones are clean."""
    classes = int(max(data.labels.max(), data.held_labels.max())) + 1
    data = _mislabelled(dice, _imbalanced(dice, data, classes), classes)
    return pose(
        dice,
        lambda d: architecture(d, data.inputs[:1], classes),
        data,
        dice.choice(_CLASS_LOSSES),
        budget,
    )


def regressor(dice: Dice, architecture: Architecture, data: Split, budget: Budget) -> ModuleTask:
    """Numbers `(n, outputs)` from samples."""
    outputs = data.labels.shape[1]
    return pose(
        dice,
        lambda d: architecture(d, data.inputs[:1], outputs),
        data,
        dice.choice(_NUMBER_LOSSES),
        budget,
    )


def _imbalanced(dice: Dice, data: Split, classes: int) -> Split:
    """Some of the time, the training samples with every class rarer than the one before it."""
    if not dice.chance(0.25):
        return data
    rarest = dice.log_uniform(0.02, 0.5)
    rank = torch.randperm(classes, generator=dice.generator)
    share = rarest ** (rank / max(1, classes - 1))
    kept = torch.rand(len(data.labels), generator=dice.generator) < share[data.labels]
    kept[0] = True
    return Split(data.inputs[kept], data.labels[kept], data.held_inputs, data.held_labels)


def _mislabelled(dice: Dice, data: Split, classes: int) -> Split:
    """Some of the time, a share of the training labels is random."""
    if not dice.chance(0.25):
        return data
    wrong = torch.rand(len(data.labels), generator=dice.generator) < dice.log_uniform(0.02, 0.4)
    drawn = torch.randint(classes, data.labels.shape, generator=dice.generator)
    labels = torch.where(wrong, drawn, data.labels)
    return Split(data.inputs, labels, data.held_inputs, data.held_labels)
