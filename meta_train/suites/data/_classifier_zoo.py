"""Zoos of classifiers as data: read from a folder, checked, split by runs.

Shape legend: `n` networks.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...zoo import Zoo, is_zoo, load_zoo, read_small_cnn_zoo

ACCURACY, _RUN, _SPLIT = "test_accuracy", "network", "split"
_PARTS = ("train", "validation", "test")


def read_zoo(folder: Path) -> Zoo:
    """Reads a folder that `save_zoo` wrote, or a data set of the published Small CNN Zoo.

    In the latter the reference's file `<folder's name>_split.csv` sets the split.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: If a file is damaged, or labels are not what the suites need.
    """
    if is_zoo(folder):
        zoo = load_zoo(folder)
    else:
        order = folder / f"{folder.name}_split.csv"
        zoo = read_small_cnn_zoo(folder, order=order if order.is_file() else None)
    _check_labels(zoo, folder)
    return zoo


def _check_labels(zoo: Zoo, folder: Path) -> None:
    if ACCURACY not in zoo.labels:
        raise ValueError(
            f"the networks in {folder} have no label {ACCURACY!r}, only {sorted(zoo.labels)}. Add "
            "it before save_zoo."
        )
    for name in (ACCURACY, _RUN, _SPLIT, *zoo.categories):
        if name in zoo.labels and zoo.labels[name].dim() != 1:
            raise ValueError(
                f"label {name!r} in {folder} has the shape {tuple(zoo.labels[name].shape)}, not "
                f"({len(zoo)},)."
            )
    accuracies = zoo.labels[ACCURACY]
    if not ((accuracies >= 0) & (accuracies <= 1)).all():
        raise ValueError(
            f"label {ACCURACY!r} in {folder} goes from {accuracies.min():.3g} to "
            f"{accuracies.max():.3g}, not within [0, 1]. Leave out networks without an accuracy, "
            "and divide those in percent by 100."
        )
    if _SPLIT in zoo.labels and not set(zoo.categories.get(_SPLIT, ())) >= set(_PARTS):
        raise ValueError(
            f"label {_SPLIT!r} in {folder} needs the categories {', '.join(_PARTS)}; it has "
            f"{zoo.categories.get(_SPLIT)}."
        )
    for name, values in zoo.categories.items():
        label = zoo.labels.get(name)
        if label is not None and not ((label >= 0) & (label < len(values))).all():
            raise ValueError(
                f"label {name!r} in {folder} goes from {label.min()} to {label.max()}, but has "
                f"{len(values)} categories. Number them from 0 on."
            )


def split_networks(zoo: Zoo, test_part: float, validation_part: float) -> tuple[Zoo, Zoo, Zoo]:
    """Splits networks into those for training, for validation and for testing.

    The label `split` decides where there is one, else chance. Networks with an equal label
    `network`, the checkpoints of one run, stay together.

    Args:
        zoo: All networks.
        test_part: Part of the runs for testing.
        validation_part: Part of the others for validation.

    Raises:
        ValueError: If there are none to learn from, or not two accuracies to put in order in
            another part.
    """
    if _SPLIT in zoo.labels:
        names = zoo.categories[_SPLIT]
        masks = [zoo.labels[_SPLIT] == names.index(part) for part in _PARTS]
    else:
        runs = zoo.labels.get(_RUN, torch.arange(len(zoo)))
        parts = _split_runs(runs.unique(), test_part, validation_part)
        masks = [torch.isin(runs, part) for part in parts]
    train, validation, test = (zoo.take(mask) for mask in masks)
    for name, part, needed in zip(_PARTS, (train, validation, test), (1, 2, 2), strict=True):
        different = len(part.labels[ACCURACY].unique())
        if different < needed:
            raise ValueError(
                f"of {len(zoo)} networks {len(part)} are for {name}, with {different} different "
                f"accuracies; at least {needed} are needed. Train more, or split them otherwise."
            )
    return train, validation, test


def _split_runs(runs: Tensor, test_part: float, validation_part: float) -> tuple[Tensor, ...]:
    runs = runs[torch.randperm(len(runs), generator=torch.Generator().manual_seed(0))]
    num_test = round(test_part * len(runs))
    num_validation = round(validation_part * (len(runs) - num_test))
    test, validation, train = runs.split(
        [num_test, num_validation, len(runs) - num_test - num_validation]
    )
    return train, validation, test
