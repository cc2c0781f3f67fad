"""Networks that make images: autoencoders with a plain or a random code, and denoisers.

Shape legend: `b` samples, `c` channels, `h` rows, `w` columns, `k` numbers of a code.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .._draw import Dice
from ._convolutional import convolution
from ._layers import ACTIVATIONS, IMAGE_NORMS, Activation, Builder

SIDE_MULTIPLE = 4
"""Sides of images are multiples of it: they are halved twice and doubled twice."""
_Layers = tuple[list[nn.Module], list[nn.Module]]


def draw_autoencoder(dice: Dice, sample: Tensor) -> Builder:
    """Linear layers or convolutions to a narrow code and back, as `(b, c, h, w)` of any numbers.

    Args:
        dice: Makes the choices.
        sample: One image `(1, c, h, w)`.
    """
    parts, code = _draw_parts(dice, sample), dice.size(2, 64)

    def build() -> nn.Module:
        encoder, decoder = parts.build(code, code)
        return nn.Sequential(*encoder, *decoder)

    return build


def draw_vae(dice: Dice, sample: Tensor) -> Builder:
    """The same with a Gaussian code: to the image's logits, and the code's mean and log variance.

    Args:
        dice: Makes the choices.
        sample: One image `(1, c, h, w)`.
    """
    parts, code = _draw_parts(dice, sample), dice.size(2, 32)

    def build() -> nn.Module:
        encoder, decoder = parts.build(2 * code, code)
        return _VAE(nn.Sequential(*encoder), nn.Sequential(*decoder))

    return build


def draw_denoiser(dice: Dice, sample: Tensor) -> Builder:
    """From images with a plane that says how noisy they are, `(b, c + 1, h, w)`, to `(b, c, h, w)`.

    Args:
        dice: Makes the choices.
        sample: One image with its plane, `(1, c + 1, h, w)`.
    """
    width, activation = dice.size(8, 48), dice.choice(ACTIVATIONS[:5])
    norm, planes, deep = dice.choice(IMAGE_NORMS), sample.shape[1], dice.chance(0.6)

    def build() -> nn.Module:
        enter = nn.Sequential(*convolution(planes, width, 3, activation, norm))
        leave = nn.Conv2d(2 * width if deep else width, planes - 1, 3, padding=1)
        if not deep:
            return nn.Sequential(enter, *convolution(width, width, 3, activation, norm), leave)
        low = nn.Sequential(
            *convolution(width, 2 * width, 3, activation, norm, stride=2),
            *convolution(2 * width, 2 * width, 3, activation, norm),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            activation(),
        )
        return _Skipping(enter, low, leave)

    return build


class _VAE(nn.Module):
    """Draws the code from torch's global generator."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(code), mean, log_variance


class _Skipping(nn.Module):
    """A path through half the size beside a straight one."""

    def __init__(self, enter: nn.Module, low: nn.Module, leave: nn.Module) -> None:
        super().__init__()
        self.enter, self.low, self.leave = enter, low, leave

    def forward(self, x: Tensor) -> Tensor:
        top = self.enter(x)
        y: Tensor = self.leave(torch.cat([top, self.low(top)], dim=1))
        return y


class _LinearParts:
    """Encoder and decoder of linear layers."""

    def __init__(self, dice: Dice, sample: Tensor) -> None:
        self.image, self.activation = sample.shape[1:], dice.choice(ACTIVATIONS)
        hidden = [dice.size(16, 256) for _ in range(dice.integer(1, 3))]
        self.widths = (self.image.numel(), *sorted(hidden, reverse=True))

    def build(self, code: int, read: int) -> _Layers:
        """The encoder writes `code` numbers, the decoder reads `read`."""
        encoder = [nn.Flatten(), *_linear((*self.widths, code), self.activation)]
        decoder = _linear((read, *self.widths[::-1]), self.activation)
        return encoder, [*decoder, nn.Unflatten(1, tuple(self.image))]


class _ConvolutionalParts:
    """Encoder and decoder of two convolutions, with a linear layer at the code."""

    def __init__(self, dice: Dice, sample: Tensor) -> None:
        self.planes, self.side = sample.shape[1], sample.shape[-1] // SIDE_MULTIPLE
        self.first, self.second = dice.size(8, 32), dice.size(8, 64)
        self.activation, self.norm = dice.choice(ACTIVATIONS[:6]), dice.choice(IMAGE_NORMS)

    def build(self, code: int, read: int) -> _Layers:
        """The encoder writes `code` numbers, the decoder reads `read`."""
        act, norm, low = self.activation, self.norm, (self.second, self.side, self.side)
        features = self.second * self.side**2
        encoder = [
            *convolution(self.planes, self.first, 3, act, norm, stride=2),
            *convolution(self.first, self.second, 3, act, norm, stride=2),
            nn.Flatten(),
            nn.Linear(features, code),
        ]
        decoder = [
            nn.Linear(read, features),
            nn.Unflatten(1, low),
            act(),
            nn.ConvTranspose2d(self.second, self.first, 4, stride=2, padding=1),
            act(),
            nn.ConvTranspose2d(self.first, self.planes, 4, stride=2, padding=1),
        ]
        return encoder, decoder


def _draw_parts(dice: Dice, sample: Tensor) -> _LinearParts | _ConvolutionalParts:
    kind = _LinearParts if dice.chance(0.5) else _ConvolutionalParts
    return kind(dice, sample)


def _linear(widths: tuple[int, ...], activation: Activation) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return layers[:-1]
