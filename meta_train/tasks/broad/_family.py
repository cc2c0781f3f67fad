"""The broad family: every kind of data that meta-training may read, every kind of network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...data import file_of, find_file
from .._augment import PermutedInputs, PermutedLabels, ReparametrizedWeights, ScaledLoss
from .._base import Task, TaskFamily
from .._families import Mixture, default_family
from ..architectures import (
    draw_character_rnn,
    draw_cnn,
    draw_cnn_1d,
    draw_depthwise,
    draw_encoder,
    draw_gpt,
    draw_mixer,
    draw_mlp,
    draw_recurrent,
    draw_resnet,
    draw_vit,
)
from ._bootstrapped import BootstrappedValues
from ._fine_tuning import FineTuning
from ._functions import Functions, ImageFields, MovingTargets
from ._generative import Denoisers, ImageAutoencoders, VAEs
from ._images import ImageClassifiers
from ._physics import Equations
from ._signals import Forecasts, SignalClassifiers
from ._tables import MeasuredTables
from ._texts import Languages, NextCharacters

SUB_FAMILIES: dict[str, tuple[TaskFamily, float]] = {
    "image MLPs": (ImageClassifiers(draw_mlp), 0.08),
    "image MLPs, reordered": (PermutedInputs(PermutedLabels(ImageClassifiers(draw_mlp))), 0.03),
    "image CNNs": (ImageClassifiers(draw_cnn), 0.09),
    "image ResNets": (ImageClassifiers(draw_resnet), 0.06),
    "image depthwise CNNs": (ImageClassifiers(draw_depthwise), 0.04),
    "image ViTs": (ImageClassifiers(draw_vit), 0.05),
    "image Mixers": (ImageClassifiers(draw_mixer), 0.05),
    "tables": (MeasuredTables(), 0.1),
    "signal CNNs": (SignalClassifiers(draw_cnn_1d), 0.03),
    "signal RNNs": (SignalClassifiers(draw_recurrent), 0.03),
    "signal transformers": (SignalClassifiers(draw_encoder), 0.03),
    "forecasting MLPs": (Forecasts(draw_mlp), 0.02),
    "forecasting RNNs": (Forecasts(draw_recurrent), 0.02),
    "text GPTs": (NextCharacters(draw_gpt), 0.05),
    "text RNNs": (NextCharacters(draw_character_rnn), 0.03),
    "language GPTs": (Languages(draw_gpt), 0.02),
    "language RNNs": (Languages(draw_character_rnn), 0.02),
    "autoencoders": (ImageAutoencoders(), 0.04),
    "VAEs": (VAEs(), 0.03),
    "denoisers": (Denoisers(), 0.03),
    "functions": (Functions(), 0.08),
    "image fields": (ImageFields(), 0.04),
    "equations": (Equations(), 0.03),
    "moving targets": (MovingTargets(), 0.03),
    "bootstrapped values": (BootstrappedValues(), 0.02),
    "fine-tuned MLPs": (FineTuning(draw_mlp), 0.015),
    "fine-tuned CNNs": (FineTuning(draw_cnn), 0.015),
    "fine-tuned ViTs": (FineTuning(draw_vit), 0.01),
    "digits and teachers": (default_family, 0.05),
}


def files_of(family: TaskFamily) -> frozenset[str]:
    """The data files that a family may read, relative to `$NFN_DATA`.

    They are found in its attributes: families in families, and names of data sets in `data`.
    """
    names = getattr(family, "data", ())
    found = {file_of(name) for name in ([names] if isinstance(names, str) else names)}
    for inner in _families_in(tuple(vars(family).values())):
        found |= files_of(inner)
    return frozenset(name for name in found if name is not None)


def _families_in(value: object) -> list[TaskFamily]:
    if isinstance(value, TaskFamily):
        return [value]
    return [f for v in value for f in _families_in(v)] if isinstance(value, tuple) else []


@dataclass(frozen=True)
class Complete(TaskFamily):
    """A family that is drawn from where all its files are, and nowhere in part.

    A seed means the same task on every machine.

    Attributes:
        name: What the error calls it.
        family: Where tasks are drawn from.
    """

    name: str
    family: TaskFamily

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a task.

        Raises:
            FileNotFoundError: Naming the files that are missing.
        """
        missing = sorted(name for name in files_of(self.family) if find_file(name) is None)
        if missing:
            raise FileNotFoundError(
                f"{self.name} reads data files of which these are not on this machine: "
                f"{', '.join(missing)}. Point NFN_DATA to the folder that has them, or train on "
                "default_family, which needs no files."
            )
        return self.family.sample(generator)


_as_it_is = Mixture(tuple(SUB_FAMILIES.values()))

broad_family = Complete(
    "broad_family",
    Mixture(
        (
            (_as_it_is, 0.55),
            (ScaledLoss(_as_it_is), 0.2),
            (ReparametrizedWeights(_as_it_is), 0.1),
            (ScaledLoss(ReparametrizedWeights(_as_it_is, per_tensor=True)), 0.15),
        )
    ),
)
"""All data of meta-training under networks of every kind, in many units; reads `$NFN_DATA`."""
