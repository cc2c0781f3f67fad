"""Bundled task families: MLPs and small CNNs on digits and on random teacher networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ._base import ModuleTask, Task, TaskFamily
from ._draw import ACTIVATIONS, Dice, build_seeded, draw_widths, mlp
from ._samples import classify, draw_digits, draw_gaussians, draw_init_scale, split_samples


@dataclass(frozen=True)
class DigitsMLPs(TaskFamily):
    """Digits classifiers: images resized and jittered, noisy labels, MLPs of many shapes.

    Attributes:
        max_hidden_layers: Deepest network.
        min_width: Narrowest hidden layer.
        max_width: Widest hidden layer.
        max_weights: Networks with more weights are drawn again.
    """

    max_hidden_layers: int = 4
    min_width: int = 8
    max_width: int = 128
    max_weights: int = 48_000

    def sample(self, generator: torch.Generator) -> Task:
        """Draws data, an architecture and a batch size."""
        dice = Dice(generator)
        data = draw_digits(dice).map(lambda images: images.flatten(1))
        widths = draw_widths(dice, self, data.inputs.shape[1], 10)
        activation = dice.choice(ACTIVATIONS)
        return classify(dice, lambda: mlp(widths, activation), data)


@dataclass(frozen=True)
class DigitsCNNs(TaskFamily):
    """Digits classifiers with one or two convolutions, then a global pool or a flatten boundary.

    Attributes:
        max_channels: Widest convolution.
    """

    max_channels: int = 24

    def sample(self, generator: torch.Generator) -> Task:
        """Draws data, an architecture and a batch size."""
        dice = Dice(generator)
        data = draw_digits(dice, max_size=12)
        channels = [dice.size(4, self.max_channels) for _ in range(dice.integer(1, 2))]
        kernel, activation = dice.choice((3, 3, 5)), dice.choice(ACTIVATIONS)
        pool = dice.chance(0.5)
        size = data.inputs.shape[-1]

        def build() -> nn.Module:
            layers: list[nn.Module] = []
            side, before = size, 1
            for width in channels:
                layers += [
                    nn.Conv2d(before, width, kernel, stride=2, padding=kernel // 2),
                    activation(),
                ]
                side, before = (side + 1) // 2, width
            layers += [nn.AdaptiveAvgPool2d(1)] if pool else []
            side = 1 if pool else side
            return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, 10))

        return classify(dice, build, data, max_batch=64)


@dataclass(frozen=True)
class TeacherMLPs(TaskFamily):
    """Students of random teacher networks on Gaussian inputs, classification and regression.

    Attributes:
        max_inputs: Largest input size.
        max_hidden_layers: Deepest student.
        min_width: Narrowest hidden layer.
        max_width: Widest hidden layer.
        max_weights: Students with more weights are drawn again.
    """

    max_inputs: int = 512
    max_hidden_layers: int = 4
    min_width: int = 8
    max_width: int = 128
    max_weights: int = 48_000

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a teacher, a data set, an architecture and a batch size."""
        dice = Dice(generator)
        inputs_size, outputs = dice.size(4, self.max_inputs), dice.size(2, 20)
        inputs = draw_gaussians(dice, dice.size(256, 4096), inputs_size)
        teacher_widths = (inputs_size, dice.size(4, 64), outputs)
        teacher = build_seeded(dice, lambda: mlp(teacher_widths, nn.Tanh))
        with torch.no_grad():
            scores = teacher(inputs)
        scores = (scores - scores.mean(0)) / scores.std(0)
        widths = draw_widths(dice, self, inputs_size, outputs)
        activation = dice.choice(ACTIVATIONS)
        if dice.chance(0.3):
            data = split_samples(inputs, scores)
            return ModuleTask(
                lambda: mlp(widths, activation),
                F.mse_loss,
                (data.inputs, data.labels),
                validation_data=(data.held_inputs, data.held_labels),
                batch_size=dice.size(16, 128),
                init_scale=draw_init_scale(dice),
            )
        return classify(
            dice, lambda: mlp(widths, activation), split_samples(inputs, scores.argmax(1))
        )


@dataclass(frozen=True)
class Mixture(TaskFamily):
    """Draws a family, then a task from it.

    Attributes:
        families: The families and their relative weights.
    """

    families: tuple[tuple[TaskFamily, float], ...]

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a task."""
        weights = torch.tensor([weight for _, weight in self.families])
        index = int(torch.multinomial(weights, 1, generator=generator))
        return self.families[index][0].sample(generator)


default_family = Mixture(((DigitsMLPs(), 0.55), (TeacherMLPs(), 0.3), (DigitsCNNs(), 0.15)))
"""What `nfn-optim train` takes without `--tasks`: digits and teachers, MLPs and CNNs."""
