"""What architectures have in common: activations, normalization, initial weights, dropout."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._draw import Dice

Builder = Callable[[], nn.Module]
Activation = Callable[[], nn.Module]
Norm = Callable[[int], nn.Module]
"""Makes the layer for a number of channels."""

ACTIVATIONS: tuple[Activation, ...] = (
    nn.ReLU,
    nn.ReLU,
    nn.GELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.ELU,
    nn.LeakyReLU,
    nn.Softplus,
    nn.Sigmoid,
)
MIN_WIDTH, MAX_WIDTH = 16, 512


class RMSNorm(nn.Module):
    """Divides the last axis by its root mean square, and multiplies by a gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape `(..., width)`."""
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.gain


class Flattened(nn.Module):
    """A network on samples in one row each."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """`(b, ...)` to whatever the network makes of `(b, d)`."""
        y: Tensor = self.net(x.flatten(1))
        return y


class Residual(nn.Module):
    """Adds what a branch makes of its input to it."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """The shape stays the same."""
        return x + self.branch(x)


VECTOR_NORMS: tuple[Norm | None, ...] = (
    None,
    None,
    None,
    nn.BatchNorm1d,
    nn.LayerNorm,
    RMSNorm,
)


def group_norm(channels: int) -> nn.Module:
    """In four groups where they divide the channels, else in one."""
    return nn.GroupNorm(4 if channels % 4 == 0 else 1, channels)


IMAGE_NORMS: tuple[Norm | None, ...] = (
    None,
    nn.BatchNorm2d,
    nn.BatchNorm2d,
    group_norm,
)


def draw_dropout(dice: Dice) -> float:
    """Mostly none."""
    return dice.uniform(0.05, 0.3) if dice.chance(0.15) else 0.0


def with_dropout(layers: list[nn.Module], share: float) -> list[nn.Module]:
    """The layers, then dropout if there is any."""
    return [*layers, nn.Dropout(share)] if share else layers


def draw_dim(dice: Dice, low: int, high: int, multiple: int) -> int:
    """A log-uniform width that is a multiple, for heads or groups."""
    return multiple * dice.size(-(-low // multiple), high // multiple)
