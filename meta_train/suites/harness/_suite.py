"""What a suite is: a task on weight spaces, methods for it, and what the paper reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ...support import Progress
from ...tasks import Dataset
from ._fit import FitConfig
from ._interface import Interface
from ._method import Method

Data = str | Dataset | Path
"""The name of a data set, images and labels of one's own, or a folder of one's own."""

StageProgress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much work a suite is: the fields that all suites share.

    Attributes:
        data: The data set unless another is asked for.
        methods: By the name on the command line. Names of the paper are the paper's networks; a
            name that ends in `+` is one that goes beyond them, see docs/suites.md.
        fit: How their networks are trained.
        num_seeds: Networks trained a method.
        paper: Published results by data set and method, where this size follows another paper than
            the suite; None is the suite's own.
    """

    data: str
    methods: Mapping[str, Method]
    fit: FitConfig
    num_seeds: int = 1
    paper: Mapping[str, Mapping[str, float]] | None = None


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


class Experiment(Protocol):
    """A suite's data, made and ready: what a network is trained and tested on.

    Outcomes are kept under its fingerprint, so that it holds all that they depend on but for
    network and seed, and nothing else.
    """

    def run(self, network: nn.Module, seed: int, on_progress: Progress) -> Outcome:
        """Trains a new network and tests it."""


S = TypeVar("S", bound=Size)
E = TypeVar("E", bound=Experiment)


@dataclass(frozen=True)
class Suite(Generic[S, E]):
    """A task of the paper.

    Attributes:
        name: What it is called on the command line.
        summary: What it does, in a line.
        metric: What is measured on test data.
        data: Names of its data sets.
        sizes: By name; `tiny` is a smoke test of less than two minutes, whose figures are not to
            be compared, `small` takes about an hour, `paper` is the paper's protocol; others follow
            other papers.
        references: Methods that need no network, by name; each reaches an outcome on an experiment.
        paper: The paper's results by data set and method.
        interface: What networks read and write, without making any data.
        prepare: Makes the data at a size, or finds it in the cache.
        more: Further metrics by name, of an experiment and an outcome on it.
        beside: Further ones by name, of an outcome and of all methods' outcomes with its seed.
        plot: Writes a picture of what the methods' first networks reached, to a path.
    """

    name: str
    summary: str
    metric: str
    data: tuple[str, ...]
    sizes: Mapping[str, S]
    paper: Mapping[str, Mapping[str, float]]
    interface: Callable[[S, Data], Interface]
    prepare: Callable[[S, Data, torch.device, StageProgress], E]
    plot: Callable[[E, Mapping[str, Outcome], Path], None] | None = None
    more: Mapping[str, Callable[[E, Outcome], float]] = field(default_factory=dict)
    beside: Mapping[str, Callable[[Outcome, Mapping[str, Outcome]], float]] = field(
        default_factory=dict
    )
    references: Mapping[str, Callable[[E, int, Progress], Outcome]] = field(default_factory=dict)

    def names(self, size: Size) -> tuple[str, ...]:
        """Names of all references, and of the methods at a size."""
        return (*self.references, *size.methods)
