"""Convolutional networks on images: plain, residual, with depthwise convolutions; and on series.

Shape legend: `b` samples, `c` channels, `h` rows, `w` columns, `t` points in time.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from .._draw import Dice
from ._layers import (
    ACTIVATIONS,
    IMAGE_NORMS,
    Activation,
    Builder,
    Norm,
    draw_dim,
    draw_dropout,
    with_dropout,
)

_MIN_CHANNELS, _MAX_CHANNELS = 8, 128


def draw_cnn(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """One to four convolutions, each of which halves the image, under a pool or a flat head.

    Args:
        dice: Makes the choices.
        sample: One image `(1, c, h, w)`.
        outputs: How many outputs the network has.
    """
    side, depth = sample.shape[-1], dice.integer(1, 4)
    hidden = [dice.size(_MIN_CHANNELS, _MAX_CHANNELS) for _ in range(depth)]
    channels = (sample.shape[1], *(sorted(hidden) if dice.chance(0.7) else hidden))
    kernel, strided, pool = dice.choice((3, 3, 5)), dice.chance(0.6), dice.chance(0.5)
    activation, norm = dice.choice(ACTIVATIONS), dice.choice(IMAGE_NORMS)
    wide = 0 if dice.chance(0.7) else dice.size(16, 128)
    dropout = draw_dropout(dice)

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        left = side
        for fan_in, fan_out in pairwise(channels):
            halve = left > 3
            layers += convolution(
                fan_in, fan_out, kernel, activation, norm, stride=2 if halve and strided else 1
            )
            layers += [] if strided or not halve else [nn.MaxPool2d(2, ceil_mode=True)]
            left = -(-left // 2) if halve else left
        layers += [nn.AdaptiveAvgPool2d(1)] if pool else []
        features = channels[-1] * (1 if pool else left * left)
        layers = with_dropout([*layers, nn.Flatten()], dropout)
        layers += [nn.Linear(features, wide), activation()] if wide else []
        return nn.Sequential(*layers, nn.Linear(wide or features, outputs))

    return build


def draw_resnet(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """Two to four widths, at each of which one or two blocks; normalization before or after.

    Args:
        dice: Makes the choices.
        sample: One image `(1, c, h, w)`.
        outputs: How many outputs the network has.
    """
    first, stages, repeats = draw_dim(dice, 8, 48, 4), dice.integer(1, 3), dice.integer(1, 2)
    widths = [first * (2**k if dice.chance(0.8) else 1) for k in range(stages)]
    activation, norm = dice.choice(ACTIVATIONS[:5]), dice.choice(IMAGE_NORMS)
    before, kernel = dice.chance(0.4), dice.choice((3, 3, 5))

    def build() -> nn.Module:
        blocks: list[nn.Module] = []
        for fan_in, fan_out in pairwise((first, *widths)):
            stride = 2 if blocks else 1
            for k in range(repeats):
                shape = (fan_in, fan_out, stride) if k == 0 else (fan_out, fan_out, 1)
                blocks.append(_ResidualBlock(*shape, activation, norm, before=before))
        stem = convolution(sample.shape[1], first, kernel, activation, norm)
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], outputs))
        return nn.Sequential(*stem, *blocks, *head)

    return build


def draw_depthwise(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """Patches, then blocks of a depthwise convolution and a wide pair of pointwise ones.

    Args:
        dice: Makes the choices.
        sample: One image `(1, c, h, w)`.
        outputs: How many outputs the network has.
    """
    width, depth = draw_dim(dice, 16, 128, 4), dice.integer(1, 4)
    patch, kernel, factor = dice.choice((2, 3, 4)), dice.choice((3, 5, 7)), dice.choice((2, 3, 4))
    activation, norm = dice.choice(ACTIVATIONS[:5]), dice.choice(IMAGE_NORMS)

    def block() -> nn.Module:
        return _Beside(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width),
            *([norm(width)] if norm else []),
            nn.Conv2d(width, factor * width, 1),
            activation(),
            nn.Conv2d(factor * width, width, 1),
        )

    def build() -> nn.Module:
        stem = nn.Conv2d(sample.shape[1], width, patch, stride=patch)
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs))
        return nn.Sequential(stem, *(block() for _ in range(depth)), *head)

    return build


def draw_cnn_1d(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """One to four convolutions over time.

    Args:
        dice: Makes the choices.
        sample: One series `(1, t, c)`.
        outputs: How many outputs the network has.
    """
    depth = dice.integer(1, 4)
    channels = (sample.shape[2], *(dice.size(_MIN_CHANNELS, 96) for _ in range(depth)))
    kernel, stride = dice.choice((3, 5, 7, 9)), dice.choice((1, 2, 2))
    activation = dice.choice(ACTIVATIONS)
    norm = dice.choice((None, nn.BatchNorm1d))

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(channels):
            layers += [
                nn.Conv1d(fan_in, fan_out, kernel, stride=stride, padding=kernel // 2),
                *([norm(fan_out)] if norm else []),
                activation(),
            ]
        head = (nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels[-1], outputs))
        return nn.Sequential(_ChannelsFirst(), *layers, *head)

    return build


def convolution(
    fan_in: int,
    fan_out: int,
    kernel: int,
    activation: Activation,
    norm: Norm | None,
    *,
    stride: int = 1,
) -> list[nn.Module]:
    """A convolution, normalization if there is any, and an activation."""
    return [
        nn.Conv2d(fan_in, fan_out, kernel, stride, padding=kernel // 2, bias=norm is None),
        *([norm(fan_out)] if norm else []),
        activation(),
    ]


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a straight path, or one with a 1x1 where shapes differ."""

    def __init__(
        self,
        channels: int,
        out: int,
        stride: int,
        activation: Activation,
        norm: Norm | None,
        *,
        before: bool,
    ) -> None:
        super().__init__()
        first = nn.Conv2d(channels, out, 3, stride, padding=1)
        second = nn.Conv2d(out, out, 3, padding=1)
        norms = [[norm(width)] if norm else [] for width in ((channels if before else out), out)]
        layers = (
            (*norms[0], activation(), first, *norms[1], activation(), second)
            if before
            else (first, *norms[0], activation(), second, *norms[1])
        )
        self.branch = nn.Sequential(*layers)
        straight = stride == 1 and channels == out
        self.beside = nn.Identity() if straight else nn.Conv2d(channels, out, 1, stride)
        self.after = nn.Identity() if before else activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.after(self.beside(x) + self.branch(x))
        return y


class _Beside(nn.Module):
    """Layers beside a straight path, with half of its weight."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.5 * self.branch(x)


class _ChannelsFirst(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mT  # (b, t, c) to (b, c, t)
