"""What a suite measured, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ._suite import Outcome

SMOKE_TEST = "tiny"


@dataclass(frozen=True)
class MethodResult:
    """What one method reached.

    Attributes:
        metric: The suite's metric on test data, mean over seeds.
        std: Its standard deviation over seeds; 0 for one seed, NaN where a metric is not finite.
        seconds: Time of training one network, mean over seeds.
        parameters: Trained parameters of one network.
        per_seed: The metric of every seed.
        more: The suite's further metrics, mean over seeds.
    """

    metric: float
    std: float
    seconds: float
    parameters: int
    per_seed: tuple[float, ...]
    more: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], more: Mapping[str, Sequence[float]]) -> MethodResult:
        """Sums up one outcome a seed, and further metrics of it by name."""
        scores = [outcome.score for outcome in outcomes]
        seconds = float(np.mean([outcome.seconds for outcome in outcomes]))
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            mean, std = float(np.mean(scores)), float(np.std(scores))
        means = {name: float(np.mean(values)) for name, values in more.items()}
        return cls(mean, std, seconds, outcomes[0].parameters, tuple(scores), means)


@dataclass(frozen=True)
class SuiteResult:
    """What a suite measured.

    Attributes:
        suite: Its name.
        size: How much work it was.
        data: The data set.
        metric: What is measured on test data.
        num_seeds: Networks trained a method.
        methods: What the methods reached.
        paper: The metric in the paper, by method, where it has this data set.
        picture: Where the picture is, if one was drawn.
    """

    suite: str
    size: str
    data: str
    metric: str
    num_seeds: int
    methods: Mapping[str, MethodResult]
    paper: Mapping[str, float]
    picture: Path | None = field(default=None)

    @property
    def is_smoke_test(self) -> bool:
        """Whether it only shows that everything works: its figures are not to be compared."""
        return self.size == SMOKE_TEST

    def to_json(self) -> dict[str, Any]:
        """The table as JSON can hold it; a metric that is not finite becomes None."""
        return {
            "suite": self.suite,
            "size": self.size,
            "smoke_test": self.is_smoke_test,
            "data": self.data,
            "metric_name": self.metric,
            "num_seeds": self.num_seeds,
            "methods": {
                name: {
                    "metric": _finite(result.metric),
                    "std": _finite(result.std),
                    "seconds": result.seconds,
                    "parameters": result.parameters,
                    **{more: _finite(value) for more, value in result.more.items()},
                }
                for name, result in self.methods.items()
            },
            "paper": dict(self.paper),
        }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
