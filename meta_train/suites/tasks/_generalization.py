"""What the suites share that predict from weights how well classifiers generalize."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import NetworkSpec

from ...support import require_counts
from ...tasks import Dataset
from ...zoo import (
    CLASSIFIER_LABELS,
    ClassifierConfig,
    Zoo,
    build_each,
    cache_folder,
    is_zoo,
    small_cnn,
    train_classifiers,
)
from ..data import (
    ACCURACY,
    OddFlips,
    auxiliary_targets,
    is_odd,
    labels_of,
    num_auxiliary,
    read_images,
    read_zoo,
    split_networks,
)
from ..harness import (
    Classifiers,
    Data,
    Examples,
    Interface,
    Method,
    Objective,
    Outcome,
    Size,
    StageProgress,
    Suite,
    Supervised,
    plot_scatter,
)
from ..networks import Equivariant, InUnits, Multitask, Probed
from ._accuracies import Accuracies, AccuracyLoss

Activation = Callable[[], nn.Module]
_SEEN = 15  # rows and columns of an image that reach one place before small_cnn's mean


@dataclass(frozen=True, kw_only=True)
class GeneralizationSize(Size):
    """The classifiers of a size, and how they are split.

    Attributes:
        num_networks: Classifiers trained; each appears once for every checkpoint.
        architecture: Makes a classifier for a data set, from a maker of activations.
        classifiers: Hyperparameters and checkpoints.
        pixels: Rows and columns that images are averaged to; None keeps all.
        test_part: Part of the classifiers for testing.
        validation_part: Part of the others for validation.
        ordered: Whether the order of pairs is learned too; not in the paper.
        auxiliary: Weight of the auxiliary targets' mean squared error in the loss; with 0, as in
            the paper, there are none.
        flips: Whether neurons of odd activation change sign at random in training; not in the
            paper.

    Raises:
        ValueError: If a number is out of range.
    """

    num_networks: int
    architecture: Callable[[Dataset, Activation], nn.Sequential]
    classifiers: ClassifierConfig
    pixels: int | None = None
    test_part: float
    validation_part: float
    ordered: bool = False
    auxiliary: float = 0.0
    flips: bool = False

    def __post_init__(self) -> None:
        require_counts(self, "num_networks")
        if not (0 < self.test_part < 1 and 0 < self.validation_part < 1):
            raise ValueError(
                f"test_part and validation_part must be between 0 and 1; got {self.test_part} and "
                f"{self.validation_part}."
            )


def and_beyond(methods: Mapping[str, Method], probed: Probed) -> dict[str, Method]:
    """The methods, the same in units and with auxiliary targets, and those that run classifiers.

    Args:
        methods: Those of the paper; `hnp` among them.
        probed: Runs classifiers and reads no weights.
    """
    hnp = methods["hnp"]
    assert isinstance(hnp, Equivariant)
    first = InUnits(replace(hnp, head=replace(probed.head, hidden=())))  # what probes join
    return {
        **methods,
        **{f"{name}+": Multitask(InUnits(method)) for name, method in methods.items()},
        "probes": Multitask(probed),
        "hnp-probes": Multitask(replace(probed, of=first)),
    }


def kendall_tau(predictions: Tensor, targets: Tensor) -> float:
    """Rank correlation (tau-b); NaN where all predictions are equal."""
    from scipy.stats import kendalltau

    return float(kendalltau(predictions.cpu().numpy(), targets.cpu().numpy()).statistic)


def r_squared(experiment: Supervised, outcome: Outcome) -> float:
    """Part of the test accuracies' variance that predictions explain."""
    targets = experiment.test.targets.cpu().double()
    errors = (outcome.predictions.double() - targets).square().sum()
    return float(1 - errors / (targets - targets.mean()).square().sum())


def read_interface(size: GeneralizationSize, data: Data) -> Interface:
    """Networks read the classifiers of the size, or those in a folder, and write one number.

    All networks of the Small CNN Zoo are `small_cnn`.
    """
    if isinstance(data, Path):
        zoo = read_zoo(data)
        seen = (1, _SEEN, _SEEN)
        known = _classifiers(small_cnn, ClassifierConfig(), seen) if _is_known(data) else None
        auxiliary = num_auxiliary(labels_of(zoo)) if size.auxiliary else 0
        return Interface(zoo.features.spec, 1, auxiliary=auxiliary, classifiers=known)
    dataset = _simplify(read_images(data), size.pixels)
    make, shape = partial(size.architecture, dataset), tuple(dataset.x_train.shape[1:])
    classifiers = _classifiers(make, size.classifiers, shape)
    spec = NetworkSpec.from_module(classifiers.modules[0])
    auxiliary = num_auxiliary(CLASSIFIER_LABELS) if size.auxiliary else 0
    return Interface(spec, 1, auxiliary=auxiliary, classifiers=classifiers)


def _classifiers(
    make: Callable[[Activation], nn.Sequential], config: ClassifierConfig, shape: tuple[int, ...]
) -> Classifiers:
    """Networks with each of the activations that they may have, for images of a shape."""
    with torch.random.fork_rng(devices=[]):  # weights are drawn and not used
        modules = build_each(make, config.activations)
    return Classifiers(tuple(modules.values()), shape)


def prepare(
    size: GeneralizationSize, data: Data, device: torch.device, on_progress: StageProgress
) -> Supervised:
    """Trains the classifiers, or reads them from a folder, and splits them."""
    zoo = read_zoo(data) if isinstance(data, Path) else _train(size, data, on_progress)
    parts = split_networks(zoo, size.test_part, size.validation_part)
    train, validation, test = (
        Examples(part.features.map(Tensor.float), part.labels[ACCURACY].float()).to(device)
        for part in parts
    )
    is_known = _is_known(data)
    odd = is_odd(parts[0]).to(device) if is_known and "activation" in zoo.labels else None
    targets = train.targets[:, None]
    if size.auxiliary:
        targets = torch.cat([targets, auxiliary_targets(parts[0]).to(device)], dim=1)
    return Supervised(
        Examples(train.features, targets, odd),
        validation,
        test,
        Objective(
            AccuracyLoss(size.ordered, size.auxiliary),
            kendall_tau,
            augment=OddFlips() if size.flips and is_known else None,
        ),
        size.fit,
        finish=lambda network: nn.Sequential(network, Accuracies(calibrated=size.ordered)),
    )


def plot(experiment: Supervised, outcomes: Mapping[str, Outcome], path: Path) -> None:
    """Predicted over true accuracies of the test networks, with tau."""
    predictions = {
        f"{name}: tau {outcome.score:.3f}": outcome.predictions
        for name, outcome in outcomes.items()
    }
    plot_scatter(predictions, experiment.test.targets.cpu(), "test accuracy", path)


def generalization_suite(
    name: str,
    summary: str,
    data: tuple[str, ...],
    sizes: Mapping[str, GeneralizationSize],
    paper: Mapping[str, Mapping[str, float]],
) -> Suite[GeneralizationSize, Supervised]:
    """A suite on some classifiers; the arguments are its attributes."""
    return Suite(
        name=name,
        summary=summary,
        metric="Kendall's tau of test networks",
        data=data,
        sizes=sizes,
        paper=paper,
        interface=read_interface,
        prepare=prepare,
        plot=plot,
        more={"R2": r_squared},
    )


def _is_known(data: Data) -> bool:
    """Whether it is known what classifiers compute: weights do not tell strides and activations."""
    return not (isinstance(data, Path) and is_zoo(data))


def _train(size: GeneralizationSize, data: Data, on_progress: StageProgress) -> Zoo:
    dataset = _simplify(read_images(data), size.pixels)
    return train_classifiers(
        lambda activation: size.architecture(dataset, activation),
        dataset,
        size.num_networks,
        size.classifiers,
        on_progress=lambda done, total: on_progress("classifiers", done, total),
        cache=cache_folder(),
    )


def _simplify(dataset: Dataset, pixels: int | None) -> Dataset:
    """Gray images, as the paper's are, averaged to fewer pixels."""

    def simplify(images: Tensor) -> Tensor:
        gray = images.mean(1, keepdim=True)
        return gray if pixels is None else F.adaptive_avg_pool2d(gray, pixels)

    return Dataset(
        simplify(dataset.x_train), dataset.y_train, simplify(dataset.x_test), dataset.y_test
    )
