"""Images made by networks: reproduced, drawn from a random code, freed from noise."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data import load_data
from .._base import Batch, ModuleTask, Task, TaskFamily
from .._draw import Dice
from .._samples import Split
from ..architectures import SIDE_MULTIPLE, USUAL, Budget, draw_autoencoder, draw_denoiser, draw_vae
from ._images import ALL_IMAGES, draw_part, resized
from ._pose import LossFn, pose

_MAX_SIDE = 20
_ERRORS: tuple[LossFn, ...] = (F.mse_loss, F.binary_cross_entropy_with_logits, F.smooth_l1_loss)


@dataclass(frozen=True)
class ImageAutoencoders(TaskFamily):
    """Images through a narrow code, by squared, logistic or robust error.

    Attributes:
        data: Names of data sets, as for `load_data`; read when a task is drawn from them.
        budget: What a network may cost.
    """

    data: tuple[str, ...] = ALL_IMAGES
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, an architecture and how it is trained."""
        dice = Dice(generator)
        data = _own_targets(_draw_images(dice, self.data))
        return pose(
            dice,
            lambda d: draw_autoencoder(d, data.inputs[:1]),
            data,
            dice.choice(_ERRORS),
            self.budget,
        )


@dataclass(frozen=True)
class VAEs(TaskFamily):
    """Autoencoders with a Gaussian code: logistic error of a pixel and the code's divergence.

    Attributes:
        data: Names of data sets, as for `load_data`; read when a task is drawn from them.
        budget: What a network may cost.
    """

    data: tuple[str, ...] = ALL_IMAGES
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, an architecture and how it is trained."""
        dice = Dice(generator)
        data = _own_targets(_draw_images(dice, self.data))
        weight = dice.log_uniform(0.1, 2) if dice.chance(0.4) else 1.0
        pixels = data.inputs[0].numel()

        def loss(outputs: tuple[Tensor, Tensor, Tensor], images: Tensor) -> Tensor:
            logits, mean, log_variance = outputs
            fit = F.binary_cross_entropy_with_logits(logits, images)
            surplus = mean.square() + log_variance.exp() - 1 - log_variance
            return fit + weight * surplus.sum(1).mean() / (2 * pixels)

        return pose(dice, lambda d: draw_vae(d, data.inputs[:1]), data, loss, self.budget)


@dataclass(frozen=True)
class Denoisers(TaskFamily):
    """Noise, or the image, from a mixture of both that says how much of it is noise.

    Attributes:
        data: Names of data sets, as for `load_data`; read when a task is drawn from them.
        budget: What a network may cost.
    """

    data: tuple[str, ...] = ALL_IMAGES
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws images, what is predicted, an architecture and how it is trained."""
        dice = Dice(generator)
        data = _own_targets(_draw_images(dice, self.data).map(lambda x: 2 * x - 1))
        planes = data.map(lambda x: F.pad(x, (0, 0, 0, 0, 0, 1)))  # room for the level
        kind = dice.choice((_NoiseTask, _NoiseTask, _CleanTask))
        return pose(
            dice,
            lambda d: draw_denoiser(d, planes.inputs[:1]),
            planes,
            F.mse_loss,
            self.budget,
            kind,
        )


class _NoiseTask(ModuleTask):
    """Images are mixed with noise as they are drawn; the noise is the target."""

    def _draw(self, data: tuple[Tensor, Tensor], generator: torch.Generator) -> Batch:
        _, images = super()._draw(data, generator)
        noise = torch.randn(images.shape, generator=generator)
        level = torch.rand(len(images), 1, 1, 1, generator=generator)
        mixed = (level * pi / 2).cos() * images + (level * pi / 2).sin() * noise
        plane = level.expand(-1, 1, *images.shape[2:])
        return torch.cat([mixed, plane], dim=1), self._target(images, noise)

    def _target(self, images: Tensor, noise: Tensor) -> Tensor:
        return noise


class _CleanTask(_NoiseTask):
    """The image is the target."""

    def _target(self, images: Tensor, noise: Tensor) -> Tensor:
        return images


def _draw_images(dice: Dice, names: tuple[str, ...]) -> Split:
    """Images in [0, 1] whose sides can be halved twice."""
    data = draw_part(dice, load_data(dice.choice(names)), 4_000)
    return resized(dice, data, _MAX_SIDE, SIDE_MULTIPLE)


def _own_targets(data: Split) -> Split:
    """Images that are their own targets."""
    return Split(data.inputs, data.inputs, data.held_inputs, data.held_inputs)
