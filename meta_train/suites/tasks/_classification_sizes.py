"""How the INRs of `inr-classification` are made: each from its own start, or from a learned one."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import WeightSpaceFeatures

from ...support import require_counts, require_not_negative
from ...zoo import (
    LearnedFit,
    LearningConfig,
    cache_folder,
    evaluate_fields,
    image_grid,
    image_values,
    learn_fit,
)
from ..data import (
    INRAugmentation,
    INRSize,
    Motion,
    MoveImages,
    make_inrs,
    num_classes,
    read_images,
    split,
)
from ..harness import Data, Examples, Objective, Outcome, StageProgress, Supervised

_AT_ONCE = 500  # INRs evaluated together


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Part of the labels with the largest logit."""
    return float((logits.argmax(-1) == labels).double().mean())


@dataclass(frozen=True, eq=False, kw_only=True)
class Classification(Supervised):
    """INRs with the classes of their images.

    Attributes:
        errors: Mean squared errors `(n,)` of the test INRs; none where networks fit them: then they
            are the last of a network's predictions.
        num_classes: Logits of a network.
        amplitude: The value of a white pixel; a black one has its negative.
    """

    errors: Tensor
    num_classes: int
    amplitude: float

    def logits(self, outcome: Outcome) -> Tensor:
        """The network's logits for test INRs, `(n, classes)`."""
        return outcome.predictions[:, : self.num_classes]

    def fidelity(self, outcome: Outcome) -> float:
        """Peak signal to noise of the test INRs in decibels, a mean over images."""
        errors = torch.cat([self.errors.cpu(), *outcome.predictions[:, self.num_classes :].mT])
        return float(10 * (4 * self.amplitude**2 / errors).log10().mean())


@dataclass(frozen=True, kw_only=True)
class _LabeledSize(INRSize):
    """What sizes have in common.

    Attributes:
        mirrored: Data sets whose images keep their class in a mirror: they are mirrored at random
            where training moves images.
    """

    mirrored: tuple[str, ...] = ("cifar10",)


@dataclass(frozen=True, kw_only=True)
class ClassificationSize(_LabeledSize):
    """INRs of independent random starts.

    Attributes:
        augment: Changes every training batch; None leaves it as it is.
    """

    augment: INRAugmentation | None

    def prepare(
        self, data: Data, device: torch.device, on_progress: StageProgress
    ) -> Classification:
        """Makes the INRs and the experiment."""
        dataset, augment = read_images(data), self.augment
        if augment is not None:
            omega = self.field.omega if self.normal else None
            augment = replace(augment, omega=omega, mirror=data in self.mirrored)
        parts = make_inrs(self, dataset, device, on_progress)
        train, validation, test = (Examples(part.features, part.labels) for part in parts)
        return Classification(
            train=train,
            validation=validation,
            test=test,
            objective=Objective(F.cross_entropy, accuracy, augment=augment),
            config=self.fit,
            errors=self._errors(test, parts[2].images),
            num_classes=num_classes(dataset),
            amplitude=self.amplitude,
        )

    def _errors(self, inrs: Examples, images: Tensor) -> Tensor:
        """Mean squared errors of INRs that show images, `(n,)`."""
        values = image_values(images, self.amplitude).to(inrs.targets.device)
        grid = image_grid(*images.shape[2:]).to(values)
        pieces = [slice(i, i + _AT_ONCE) for i in range(0, len(inrs), _AT_ONCE)]
        shown = [
            evaluate_fields(inrs.take(piece).features.to_params(), grid, self.field.omega)
            for piece in pieces
        ]
        return (torch.cat(shown) - values).square().mean((1, 2))


@dataclass(frozen=True, kw_only=True)
class LearnedStartSize(_LabeledSize):
    """INRs fitted in a few steps from one start, which is learned from the training images.

    At first labels take no part in that. INRs are fitted anew in every step of training, so that
    images can be moved. The loss is the cross-entropy of labels, and the INRs' error.

    Attributes:
        field: The INR and its fit, see `meta_train.zoo.LearnedFit`.
        learning: How start and rates are learned.
        end_to_end: Whether every network trains them on, through the fits and together with its own
            weights (MWT, arXiv 2503.18123); otherwise all networks read the same INRs.
        fidelity: Factor of the INRs' mean squared error in the loss.
        num_points: Points at which that error is measured in training.
        motion: How far images are moved in training.
        label_smoothing: Part of a label that all classes share in training.

    Raises:
        ValueError: If a number is out of range.
    """

    learning: LearningConfig
    end_to_end: bool
    fidelity: float = 1.0
    num_points: int = 98
    motion: Motion
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "fidelity", "label_smoothing")
        require_counts(self, "num_points")

    def prepare(
        self, data: Data, device: torch.device, on_progress: StageProgress
    ) -> Classification:
        """Learns the start, and makes the experiment, which reads images."""
        dataset = read_images(data)
        parts = split(dataset, self.num_train, self.num_validation, self.num_test)
        fits = learn_fit(
            parts[0].features,
            self.field,
            self.learning,
            amplitude=self.amplitude,
            on_progress=partial(on_progress, "the SIRENs' start"),
            cache=cache_folder(),
        )
        train, validation, test = (part.to(device) for part in parts)
        params = fits.fit(image_values(parts[0].features, self.amplitude))
        sirens = WeightSpaceFeatures.from_params(fits.spec, params).to(device)
        fits.requires_grad_(self.end_to_end)
        motion = replace(self.motion, mirror=data in self.mirrored)
        loss = LogitsAndError(self.fidelity, self.label_smoothing)
        return Classification(
            train=train,
            validation=validation,
            test=test,
            objective=Objective(loss, loss.accuracy, augment=MoveImages(motion)),
            config=self.fit,
            finish=partial(FitAndRead, fits, amplitude=self.amplitude, num_points=self.num_points),
            known=Examples(sirens, train.features),
            errors=torch.empty(0),
            num_classes=num_classes(dataset),
            amplitude=self.amplitude,
        )


class FitAndRead(nn.Module):
    """Fits INRs to images, and reads them.

    Args:
        fits: Makes the INRs; a copy is trained where its parameters require gradients.
        network: From INRs to logits.
        amplitude: The value of a white pixel; a black one has its negative.
        num_points: Points at which the INRs' error is measured in training; it is all, later.

    Shape:
        Images `(n, c, h, w)` to logits and the INR's mean squared error, `(n, classes + 1)`.
    """

    def __init__(
        self, fits: LearnedFit, network: nn.Module, *, amplitude: float, num_points: int
    ) -> None:
        super().__init__()
        self.fits, self.network = copy.deepcopy(fits), network
        self.amplitude, self.num_points = amplitude, num_points

    def forward(self, images: Tensor) -> Tensor:
        """Fits and reads."""
        values = image_values(images, self.amplitude)
        params = self.fits(values)
        logits = self.network(WeightSpaceFeatures.from_params(self.fits.spec, params))
        points = None
        if self.training:
            points = torch.randperm(values.shape[1], device=values.device)[: self.num_points]
        errors = self.fits.errors(params, values, points)
        return torch.cat([logits, errors.unsqueeze(-1)], dim=-1)


@dataclass(frozen=True)
class LogitsAndError:
    """The loss of what `FitAndRead` computes.

    Attributes:
        fidelity: Factor of the INRs' mean squared error.
        label_smoothing: Part of a label that all classes share (arXiv 1512.00567).
    """

    fidelity: float
    label_smoothing: float = 0.0

    def __call__(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, and the error of INRs."""
        logits, errors = predictions[:, :-1], predictions[:, -1]
        crossed = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return crossed + self.fidelity * errors.mean()

    @staticmethod
    def accuracy(predictions: Tensor, labels: Tensor) -> float:
        """Accuracy of the logits."""
        return accuracy(predictions[:, :-1], labels)
