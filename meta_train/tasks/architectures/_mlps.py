"""MLPs, on whatever comes in one row a sample."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from .._draw import Dice
from ._layers import (
    ACTIVATIONS,
    MAX_WIDTH,
    MIN_WIDTH,
    VECTOR_NORMS,
    Activation,
    Builder,
    Flattened,
    Norm,
    Residual,
    draw_dropout,
    with_dropout,
)

MAX_DEPTH = 12


def draw_mlp(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """One to twelve hidden layers, shallow ones more often; deep ones may be residual.

    Args:
        dice: Makes the choices.
        sample: One input, `(1, ...)`, which is flattened.
        outputs: How many outputs the network has.
    """
    inputs, depth = sample[0].numel(), dice.size(1, MAX_DEPTH)
    if depth > 2 and dice.chance(0.3):
        return _draw_residual(dice, inputs, depth, outputs)
    first, same = dice.size(MIN_WIDTH, MAX_WIDTH), dice.chance(0.5)
    hidden = [first if same else dice.size(MIN_WIDTH, MAX_WIDTH) for _ in range(depth)]
    activation, norm = dice.choice(ACTIVATIONS), dice.choice(VECTOR_NORMS)
    dropout = draw_dropout(dice)

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((inputs, *hidden)):
            layers += with_dropout(_layer(fan_in, fan_out, activation, norm), dropout)
        return Flattened(nn.Sequential(*layers, nn.Linear(hidden[-1], outputs)))

    return build


def _layer(fan_in: int, fan_out: int, activation: Activation, norm: Norm | None) -> list[nn.Module]:
    return [nn.Linear(fan_in, fan_out), *([norm(fan_out)] if norm else []), activation()]


def _draw_residual(dice: Dice, inputs: int, depth: int, outputs: int) -> Builder:
    """Blocks of two layers beside a path that goes straight through."""
    width, inner = dice.size(MIN_WIDTH, MAX_WIDTH), dice.choice((0.5, 1, 2))
    hidden = max(MIN_WIDTH, int(inner * width))
    activation, norm = dice.choice(ACTIVATIONS), dice.choice(VECTOR_NORMS)
    dropout = draw_dropout(dice)

    def block() -> nn.Module:
        layers = [
            *([norm(width)] if norm else []),
            nn.Linear(width, hidden),
            activation(),
            nn.Linear(hidden, width),
        ]
        return Residual(nn.Sequential(*with_dropout(layers, dropout)))

    def build() -> nn.Module:
        blocks = (block() for _ in range(depth // 2))
        return Flattened(
            nn.Sequential(
                nn.Linear(inputs, width), *blocks, activation(), nn.Linear(width, outputs)
            )
        )

    return build
