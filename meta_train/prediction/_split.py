"""Splits of networks into those for training, for validation and for testing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ._target import Target


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of networks."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split_networks(
    target: Target, groups: Sequence[Hashable] | None, parts: tuple[float, float], seed: int
) -> Split:
    """Draws a split: by group where there are some, else with as much of every class in each part.

    Args:
        target: What is predicted.
        groups: Networks with equal values stay together, as the checkpoints of one run.
        parts: Parts of all for validation and for testing.
        seed: Draws.

    Raises:
        ValueError: If there are too few networks or groups, or training misses a class.
    """
    kinds = list(groups) if groups is not None else list(range(len(target.values)))
    index = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}
    units = np.array([index[kind] for kind in kinds])
    order = np.random.default_rng(seed).permutation(len(index))
    if groups is None and target.classes:
        order = _interleaved(order, target.values.numpy())
    counts = [max(1, round(part * len(index))) for part in parts]
    validation, test = order[: counts[0]], order[counts[0] : sum(counts)]
    train = order[sum(counts) :]
    chosen = Split(
        *(torch.from_numpy(np.flatnonzero(np.isin(units, p))) for p in (train, validation, test))
    )
    what = "networks" if groups is None else f"groups of {len(kinds)} networks"
    if min(len(chosen.train), len(chosen.validation), len(chosen.test)) < 2:
        raise ValueError(
            f"{len(index)} {what} are too few to train, validate and test on. Give more."
        )
    lacking = set(target.values.tolist()) - set(target.values[chosen.train].tolist())
    if target.classes and lacking:
        names = ", ".join(target.classes[int(value)] for value in sorted(lacking))
        raise ValueError(
            f"no network of {target.name} = {names} is left for training, of {len(index)} {what}. "
            "Give more of these, or leave the class out."
        )
    return chosen


def _interleaved(order: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The same in an order whose pieces have all classes in like parts."""
    shares = np.empty(len(order))
    for value in np.unique(values):
        members = order[values[order] == value]
        shares[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(shares[order], kind="stable")]
