"""Auxiliary targets: losses and hyperparameters of a zoo's networks, learned beside the accuracy.

Learning them helps to predict the accuracy, which alone is validated and tested (multi-task
learning; Caruana, Machine Learning 28, 1997).

Shape legend: `n` networks, `k` auxiliary targets.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...zoo import Zoo

_NUMBERS = (
    "train_loss",
    "train_accuracy",
    "test_loss",
    "step",
    "lr",
    "l2",
    "init_scale",
    "init_std",
    "dropout",
    "train_fraction",
)
_CATEGORIES = ("activation", "optimizer", "w_init")


def labels_of(zoo: Zoo) -> dict[str, tuple[str, ...]]:
    """Names of a zoo's labels, with the categories of those that have some."""
    return {name: tuple(zoo.categories.get(name, ())) for name in zoo.labels}


def num_auxiliary(labels: Mapping[str, tuple[str, ...]]) -> int:
    """How many auxiliary targets networks with these labels have, see `labels_of`."""
    numbers = sum(name in labels for name in _NUMBERS)
    return numbers + sum(len(labels.get(name, ())) for name in _CATEGORIES)


def auxiliary_targets(zoo: Zoo) -> Tensor:
    """The auxiliary targets `(n, k)` of a zoo's networks, each between -1.8 and 1.8.

    Numbers, some of which span decades, count by their rank among the networks, with a variance of
    1; each value of a category is a target of its own, 1 or -1.
    """
    columns = [_ranks(zoo.labels[name])[:, None] for name in _NUMBERS if name in zoo.labels]
    labels = labels_of(zoo)
    for name in filter(labels.get, _CATEGORIES):
        values = F.one_hot(zoo.labels[name].long(), len(labels[name]))
        columns.append(2 * values.float() - 1)
    return torch.cat(columns, dim=1) if columns else torch.empty(len(zoo), 0)


def _ranks(values: Tensor) -> Tensor:
    """Ranks `(n,)`, equal ones for equal values, with mean 0 and variance 1; NaN ranks highest."""
    from scipy.stats import rankdata

    ranks = rankdata(np.nan_to_num(values.double().numpy(), nan=np.inf, posinf=np.inf))
    part = torch.from_numpy((ranks - 0.5) / len(values)).float()
    return (part - 0.5) * 12**0.5
