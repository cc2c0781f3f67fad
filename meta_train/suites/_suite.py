"""What a suite is: a task on weight spaces, methods for it, and what the paper reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..tasks import Dataset
from ._fit import Advance, FitConfig
from ._interface import Interface
from ._methods import Build, NetworkSize

Data = str | Dataset | Path
"""The name of a data set, images and labels of one's own, or a folder of one's own."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much work a suite is: the fields that all suites share.

    Attributes:
        data: The data set unless another is asked for.
        network: Widths of the networks that the methods build.
        fit: How these are trained.
        num_seeds: Networks trained a method.
    """

    data: str
    network: NetworkSize
    fit: FitConfig
    num_seeds: int = 1


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one network reached.

    Attributes:
        score: The suite's metric on test data.
        validation: The same on validation data, at the network's best.
        seconds: Time of training.
        parameters: Number of trained parameters.
        predictions: Of the test examples, `(n, ...)`; of the first of them where they are large.
    """

    score: float
    validation: float
    seconds: float
    parameters: int
    predictions: Tensor


class Problem(Protocol):
    """A suite's data, made and ready: what a network is trained and tested on."""

    def digest(self) -> str:
        """A hash of everything that outcomes depend on, but for network and seed."""

    def run(self, network: nn.Module, seed: int, advance: Advance) -> Outcome:
        """Trains a new network and tests it."""


S = TypeVar("S", bound=Size)
P = TypeVar("P", bound=Problem)


@dataclass(frozen=True)
class Suite(Generic[S, P]):
    """A task of the paper.

    Attributes:
        name: What it is called on the command line.
        summary: What it does, in a line.
        metric: What is measured on test data.
        data: Names of its data sets.
        sizes: By name; `tiny` takes less than two minutes, `small` about an hour, `paper` is
            the paper's protocol.
        methods: By name; each builds a network for an interface at a size.
        running: Methods that also run the classifiers they read, where an interface has them.
        references: Methods that need no network, by name; each reaches an outcome on a problem.
        paper: The paper's results by data set and method.
        interface: What networks read and write, without making any data.
        prepare: Makes the data at a size, or finds it in the cache.
        more: Further metrics by name, of a problem and an outcome on it.
        draw: Writes a picture of what the methods' first networks reached, to a path.
    """

    name: str
    summary: str
    metric: str
    data: tuple[str, ...]
    sizes: Mapping[str, S]
    methods: Mapping[str, Build]
    paper: Mapping[str, Mapping[str, float]]
    interface: Callable[[S, Data], Interface]
    prepare: Callable[[S, Data, torch.device, Progress], P]
    draw: Callable[[P, Mapping[str, Outcome], Path], None] | None = None
    more: Mapping[str, Callable[[P, Outcome], float]] = field(default_factory=dict)
    references: Mapping[str, Callable[[P, int, Advance], Outcome]] = field(default_factory=dict)
    running: Mapping[str, Build] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all references and methods."""
        return (*self.references, *self.methods, *self.running)

    def methods_for(self, interface: Interface) -> Mapping[str, Build]:
        """The methods that can read what an interface says."""
        return {**self.methods, **(self.running if interface.classifiers else {})}
