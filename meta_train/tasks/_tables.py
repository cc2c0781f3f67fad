"""A task family of small tables: regressions on few samples with noisy targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._base import ModuleTask, Task, TaskFamily
from ._draw import ACTIVATIONS, Dice, build_seeded, draw_widths, mlp
from ._samples import draw_gaussians, draw_init_scale, split_samples

_ERRORS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    F.mse_loss,
    F.mse_loss,
    F.smooth_l1_loss,
)


@dataclass(frozen=True)
class Tables(TaskFamily):
    """MLPs that fit a few measured columns with a smooth function and noise, standardized.

    Networks can memorize most of these tables, noise and all: a rule that has only seen data
    without noise, or too much of it to memorize, need not be any good at that.

    Attributes:
        max_samples: Most rows.
        max_inputs: Most input columns.
        max_outputs: Most target columns.
        max_noise: Largest share of noise in the targets' variance.
        max_hidden_layers: Deepest network.
        min_width: Narrowest hidden layer.
        max_width: Widest hidden layer.
        max_weights: Networks with more weights are drawn again.
    """

    max_samples: int = 4_096
    max_inputs: int = 64
    max_outputs: int = 4
    max_noise: float = 0.8
    max_hidden_layers: int = 4
    min_width: int = 8
    max_width: int = 128
    max_weights: int = 24_000

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a table, an architecture, an error and a batch size."""
        dice = Dice(generator)
        inputs, targets = self._table(dice)
        data = split_samples(inputs, targets)
        widths = draw_widths(dice, self, inputs.shape[1], targets.shape[1])
        activation = dice.choice(ACTIVATIONS)
        return ModuleTask(
            lambda: mlp(widths, activation),
            dice.choice(_ERRORS),
            (data.inputs, data.labels),
            validation_data=(data.held_inputs, data.held_labels),
            batch_size=dice.size(16, 256),
            init_scale=draw_init_scale(dice),
        )

    def _table(self, dice: Dice) -> tuple[Tensor, Tensor]:
        columns, outputs = dice.size(3, self.max_inputs), dice.size(1, self.max_outputs)
        inputs = _standardized(draw_gaussians(dice, dice.size(160, self.max_samples), columns))
        teacher = build_seeded(dice, lambda: mlp((columns, dice.size(2, 32), outputs), nn.Tanh))
        with torch.no_grad():
            targets = _standardized(teacher(inputs))
        share = dice.uniform(0, self.max_noise)
        noise = torch.randn(targets.shape, generator=dice.generator)
        return inputs, (1 - share) ** 0.5 * targets + share**0.5 * noise


def _standardized(columns: Tensor) -> Tensor:
    return (columns - columns.mean(0)) / (columns.std(0) + 1e-6)
