"""Networks of places: with sines, with Fourier features, and smooth ones that are differentiated.

Shape legend: `b` places of `d` coordinates.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from .._draw import Dice
from ._layers import ACTIVATIONS, Activation, Builder

_SMOOTH: tuple[Activation, ...] = (nn.Tanh, nn.Tanh, nn.GELU, nn.SiLU, nn.Softplus)


class Sine(nn.Module):
    """The sine of a multiple."""

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return (self.frequency * x).sin()


class _Waves(nn.Module):
    """Sines and cosines of places in fixed random directions."""

    def __init__(self, coordinates: int, waves: int, frequency: float) -> None:
        super().__init__()
        self.directions: Tensor
        self.register_buffer("directions", frequency * torch.randn(coordinates, waves))

    def forward(self, x: Tensor) -> Tensor:
        turned = x @ self.directions
        return torch.cat([turned.sin(), turned.cos()], dim=-1)


def draw_field(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """A SIREN, an MLP on Fourier features, or an MLP on the places themselves.

    Args:
        dice: Makes the choices.
        sample: One place `(1, d)`.
        outputs: How many outputs the network has.
    """
    return dice.choice((_draw_siren, _draw_siren, _draw_waves, _draw_plain))(
        dice, sample.shape[1], outputs
    )


def draw_smooth(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """An MLP that can be differentiated twice.

    Args:
        dice: Makes the choices.
        sample: One place `(1, d)`.
        outputs: How many outputs the network has.
    """
    frequency = dice.log_uniform(1, 5)
    activation = dice.choice((*_SMOOTH, lambda: Sine(frequency)))
    return _draw_layers(dice, sample.shape[1], outputs, activation)


def _draw_siren(dice: Dice, coordinates: int, outputs: int) -> Builder:
    frequency = dice.log_uniform(5, 40)
    widths = _draw_hidden(dice)

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((coordinates, *widths)):
            layer = nn.Linear(fan_in, fan_out)
            bound = sqrt(6 / fan_in) / frequency if layers else 1 / fan_in
            nn.init.uniform_(layer.weight, -bound, bound)
            layers += [layer, Sine(frequency)]
        return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    return build


def _draw_waves(dice: Dice, coordinates: int, outputs: int) -> Builder:
    waves, frequency = dice.size(8, 64), dice.log_uniform(2, 20)
    build_layers = _draw_layers(dice, 2 * waves, outputs, dice.choice(ACTIVATIONS[:6]))
    return lambda: nn.Sequential(_Waves(coordinates, waves, frequency), build_layers())


def _draw_plain(dice: Dice, coordinates: int, outputs: int) -> Builder:
    return _draw_layers(dice, coordinates, outputs, dice.choice(ACTIVATIONS[:6]))


def _draw_layers(dice: Dice, inputs: int, outputs: int, activation: Activation) -> Builder:
    widths = _draw_hidden(dice)

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((inputs, *widths)):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    return build


def _draw_hidden(dice: Dice) -> list[int]:
    return dice.integer(1, 5) * [dice.size(16, 256)]
