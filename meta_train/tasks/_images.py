"""Task families on image data sets: MLPs and CNNs with normalization layers, and autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import load_data
from ._base import ModuleTask, Task, TaskFamily
from ._draw import ACTIVATIONS, Dice, draw_widths, mlp
from ._samples import Split, classify, draw_init_scale, draw_split

Activation = Callable[[], nn.Module]

_ERRORS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    F.mse_loss,
    F.binary_cross_entropy_with_logits,
)


@dataclass(frozen=True)
class ImageMLPs(TaskFamily):
    """Image classifiers: MLPs, half of them with batch or layer normalization.

    Attributes:
        data: Name of a data set, as for `load_data`; read when the first task is drawn.
        max_samples: Most images of a task.
        max_side: Largest images; larger ones are averaged to a sampled size.
        max_hidden_layers: Deepest network.
        min_width: Narrowest hidden layer.
        max_width: Widest hidden layer.
        max_weights: Networks with more weights are drawn again.
    """

    data: str = "mnist"
    max_samples: int = 4_000
    max_side: int = 16
    max_hidden_layers: int = 4
    min_width: int = 8
    max_width: int = 128
    max_weights: int = 48_000

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, an architecture and a batch size."""
        dice = Dice(generator)
        data = draw_images(dice, self.data, self.max_samples, self.max_side)
        data = data.map(lambda images: images.flatten(1))
        widths = draw_widths(dice, self, data.inputs.shape[1], int(data.labels.max()) + 1)
        activation = dice.choice(ACTIVATIONS)
        norm = dice.choice((None, None, _batch_norm, nn.LayerNorm))
        return classify(dice, lambda: _normalized_mlp(widths, activation, norm), data)


@dataclass(frozen=True)
class ImageCNNs(TaskFamily):
    """Image classifiers: one to three convolutions, half of them with batch or group normalization.

    Attributes:
        data: Name of a data set, as for `load_data`; read when the first task is drawn.
        max_samples: Most images of a task.
        max_side: Largest images; larger ones are averaged to a sampled size.
        max_channels: Widest convolution.
    """

    data: str = "mnist"
    max_samples: int = 4_000
    max_side: int = 16
    max_channels: int = 24

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, an architecture and a batch size."""
        dice = Dice(generator)
        data = draw_images(dice, self.data, self.max_samples, self.max_side)
        hidden = tuple(dice.size(4, self.max_channels) for _ in range(dice.integer(1, 3)))
        channels = (data.inputs.shape[1], *hidden)
        side, classes = data.inputs.shape[-1], int(data.labels.max()) + 1
        kernel, activation = dice.choice((3, 3, 5)), dice.choice(ACTIVATIONS)
        norm = dice.choice((None, None, _batch_norm_2d, _group_norm))
        pool = dice.chance(0.5)

        def build() -> nn.Module:
            layers = _convolutions(channels, kernel, activation, norm)
            left = 1 if pool else -(-side // 2 ** len(hidden))
            layers += [nn.AdaptiveAvgPool2d(1)] if pool else []
            return nn.Sequential(
                *layers, nn.Flatten(), nn.Linear(channels[-1] * left * left, classes)
            )

        return classify(dice, build, data, max_batch=64)


@dataclass(frozen=True)
class Autoencoders(TaskFamily):
    """MLPs that reproduce images through a narrow layer, by squared or logistic error.

    Attributes:
        data: Name of a data set, as for `load_data`; read when the first task is drawn.
        max_samples: Most images of a task.
        max_side: Largest images; larger ones are averaged to a sampled size.
        max_code: Widest narrow layer.
        max_hidden_layers: Deepest encoder, and decoder.
        min_width: Narrowest hidden layer.
        max_width: Widest hidden layer.
        max_weights: Encoders with more weights are drawn again.
    """

    data: str = "digits"
    max_samples: int = 4_000
    max_side: int = 14
    max_code: int = 32
    max_hidden_layers: int = 2
    min_width: int = 16
    max_width: int = 128
    max_weights: int = 24_000

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, an architecture, an error and a batch size."""
        dice = Dice(generator)
        data = draw_images(dice, self.data, self.max_samples, self.max_side, standardize=False)
        data = data.map(lambda images: images.flatten(1).clamp(0, 1))
        encoder = draw_widths(dice, self, data.inputs.shape[1], dice.size(2, self.max_code))
        activation = dice.choice(ACTIVATIONS)
        loss = dice.choice(_ERRORS)
        return ModuleTask(
            lambda: mlp((*encoder, *encoder[-2::-1]), activation),
            loss,
            (data.inputs, data.inputs),
            validation_data=(data.held_inputs, data.held_inputs),
            batch_size=dice.size(16, 128),
            init_scale=draw_init_scale(dice),
        )


def draw_images(
    dice: Dice, name: str, max_samples: int, max_side: int, *, standardize: bool = True
) -> Split:
    """Part of a data set, averaged to a sampled size, and standardized half of the time."""
    data = load_data(name)
    split = draw_split(dice, data, 500, max_samples)
    largest = min(max_side, data.x_train.shape[-1])
    size = (dice.size(min(6, largest), largest),) * 2
    split = split.map(lambda x: F.interpolate(x, size=size, mode="bilinear", antialias=True))
    if standardize and dice.chance(0.5):
        mean, std = split.inputs.mean(), split.inputs.std()
        split = split.map(lambda x: (x - mean) / std)
    return split


def _normalized_mlp(
    widths: tuple[int, ...], activation: Activation, norm: Callable[[int], nn.Module] | None
) -> nn.Module:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths[:-1]):
        layers += [nn.Linear(fan_in, fan_out), *([norm(fan_out)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def _convolutions(
    channels: tuple[int, ...],
    kernel: int,
    activation: Activation,
    norm: Callable[[int], nn.Module] | None,
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(channels):
        layers += [
            nn.Conv2d(fan_in, fan_out, kernel, stride=2, padding=kernel // 2),
            *([norm(fan_out)] if norm else []),
            activation(),
        ]
    return layers


# Running statistics would be changed in place, which many networks at once cannot share.


def _batch_norm(width: int) -> nn.Module:
    return nn.BatchNorm1d(width, track_running_stats=False)


def _batch_norm_2d(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels)
