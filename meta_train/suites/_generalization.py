"""Predicting from weights how well classifiers generalize: what the suites on that share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import NetworkSpec

from ..tasks import Dataset
from ..zoo import (
    ClassifierConfig,
    Zoo,
    cache_folder,
    load_zoo,
    read_small_cnn_zoo,
    small_cnn,
    train_classifiers,
)
from ..zoo._classifiers import CATEGORIES, LABELS
from ..zoo._files import MANIFEST
from ..zoo._hyperparameters import ACTIVATIONS
from ._accuracies import Accuracies, AccuracyLoss
from ._auxiliary import auxiliary_targets, num_auxiliary
from ._examples import Examples
from ._fit import Objective
from ._images import read_images
from ._interface import Classifiers, Interface
from ._odd_flips import OddFlips, is_odd
from ._picture import draw_scatter
from ._suite import Data, Outcome, Progress, Size
from ._supervised import Supervised

Activation = Callable[[], nn.Module]
_LABEL = "test_accuracy"
_PARTS = ("train", "validation", "test")
_SEEN = 15  # rows and columns of an image that reach one place before small_cnn's mean


@dataclass(frozen=True, kw_only=True)
class GeneralizationSize(Size):
    """The classifiers of a size, and how they are split.

    Attributes:
        num_networks: Classifiers trained; each appears once for every checkpoint.
        architecture: Makes a classifier for a data set, from a maker of activations.
        classifiers: Hyperparameters and checkpoints.
        pixels: Rows and columns that images are averaged to; None keeps all.
        test_part: Part of the classifiers to report on.
        validation_part: Part of the others to stop by.
        ordered: Whether the loss heeds the order of pairs too; the paper's does not.
        auxiliary: Weight of the auxiliary targets' mean squared error in the loss; with 0, as in
            the paper, there are none.
        flips: Whether neurons of odd activation change sign at random in training; not in the
            paper.
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


def kendall_tau(predictions: Tensor, targets: Tensor) -> float:
    """Rank correlation (tau-b); NaN where all predictions are equal."""
    from scipy.stats import kendalltau

    return float(kendalltau(predictions.cpu().numpy(), targets.cpu().numpy()).statistic)


def r_squared(problem: Supervised, outcome: Outcome) -> float:
    """Part of the test accuracies' variance that predictions explain."""
    targets = problem.test.targets.cpu().double()
    errors = (outcome.predictions.double() - targets).square().sum()
    return float(1 - errors / (targets - targets.mean()).square().sum())


def read_interface(size: GeneralizationSize, data: Data) -> Interface:
    """Networks read the classifiers of the size, or those in a folder, and write one number.

    What those that `save_zoo` wrote compute is not known: weights do not tell strides and
    activations. All networks of the Small CNN Zoo are `small_cnn`.
    """
    if isinstance(data, Path):
        zoo = read_zoo(data)
        seen = (1, _SEEN, _SEEN)
        known = None if _is_saved(data) else _classifiers(small_cnn, tuple(ACTIVATIONS), seen)
        auxiliary = num_auxiliary(zoo.labels, zoo.categories) if size.auxiliary else 0
        return Interface(zoo.features.spec, 1, auxiliary=auxiliary, classifiers=known)
    dataset = _simplify(read_images(data), size.pixels)
    make, shape = partial(size.architecture, dataset), tuple(dataset.x_train.shape[1:])
    classifiers = _classifiers(make, size.classifiers.activations, shape)
    spec = NetworkSpec.from_module(classifiers.modules[0])
    auxiliary = num_auxiliary(LABELS, CATEGORIES) if size.auxiliary else 0
    return Interface(spec, 1, auxiliary=auxiliary, classifiers=classifiers)


def _classifiers(
    make: Callable[[Activation], nn.Sequential], names: tuple[str, ...], shape: tuple[int, ...]
) -> Classifiers:
    """Networks with each of the activations named, for images of a shape."""
    with torch.random.fork_rng(devices=[]):  # weights are drawn and not used
        return Classifiers(tuple(make(ACTIVATIONS[name]) for name in names), shape)


def prepare(
    size: GeneralizationSize, data: Data, device: torch.device, on_progress: Progress
) -> Supervised:
    """Trains the classifiers, or reads them from a folder, and splits them."""
    zoo = read_zoo(data) if isinstance(data, Path) else _train(size, data, on_progress)
    parts = split_networks(zoo, size)
    train, validation, test = (
        Examples(part.features, part.labels[_LABEL].float()).to(device) for part in parts
    )
    odd = is_odd(parts[0]).to(device) if size.flips else None
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
            augment=OddFlips() if size.flips else None,
        ),
        size.fit,
        finish=lambda network: nn.Sequential(network, Accuracies(calibrated=size.ordered)),
    )


def draw(problem: Supervised, outcomes: Mapping[str, Outcome], path: Path) -> None:
    """Predicted over true accuracies of the test networks."""
    predictions = {name: outcome.predictions for name, outcome in outcomes.items()}
    draw_scatter(predictions, problem.test.targets.cpu(), "test accuracy", path)


def read_zoo(folder: Path) -> Zoo:
    """Reads a folder that `save_zoo` wrote, or a data set of the published Small CNN Zoo.

    A file `<folder's name>_split.csv` of the reference's in the latter gives it the reference's
    split.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: If a file is damaged, or the networks have no test accuracies.
    """
    if _is_saved(folder):
        zoo = load_zoo(folder)
    else:
        order = folder / f"{folder.name}_split.csv"
        zoo = read_small_cnn_zoo(folder, order=order if order.is_file() else None)
    if _LABEL not in zoo.labels:
        raise ValueError(
            f"the networks in {folder} have no label {_LABEL!r}, only {sorted(zoo.labels)}. Add it "
            "before save_zoo."
        )
    return zoo


def _is_saved(folder: Path) -> bool:
    """Whether `save_zoo` wrote a folder."""
    return (folder / MANIFEST).is_file()


def split_networks(zoo: Zoo, size: GeneralizationSize) -> tuple[Zoo, Zoo, Zoo]:
    """Training, validation and test networks.

    As the label `split` says, else at random. Those with an equal label `network`, checkpoints of
    one run, stay together.

    Raises:
        ValueError: If a part would be empty.
    """
    if "split" in zoo.labels:
        names = zoo.categories["split"]
        masks = [zoo.labels["split"] == names.index(part) for part in _PARTS]
    else:
        runs = zoo.labels.get("network", torch.arange(len(zoo)))
        masks = [torch.isin(runs, part) for part in _split_runs(runs.unique(), size)]
    if not all(mask.any() for mask in masks):
        raise ValueError(
            f"{len(zoo)} networks are too few to be split into {', '.join(_PARTS)}. Train more."
        )
    train, validation, test = (zoo.take(mask) for mask in masks)
    return train, validation, test


def _split_runs(runs: Tensor, size: GeneralizationSize) -> tuple[Tensor, ...]:
    runs = runs[torch.randperm(len(runs), generator=torch.Generator().manual_seed(0))]
    num_test = round(size.test_part * len(runs))
    num_validation = round(size.validation_part * (len(runs) - num_test))
    test, validation, train = runs.split(
        [num_test, num_validation, len(runs) - num_test - num_validation]
    )
    return train, validation, test


def _train(size: GeneralizationSize, data: Data, on_progress: Progress) -> Zoo:
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
