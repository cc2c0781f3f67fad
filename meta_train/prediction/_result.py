"""What a prediction reached, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ..support import clean
from ._readers import Readers


@dataclass(frozen=True)
class Answer:
    """What was predicted of one network for testing.

    Attributes:
        seed: Of the split and the reader.
        network: Its name.
        truth: Its label.
        predicted: The number, or the class with the largest chance.
        confidence: This chance; None for numbers.
    """

    seed: int
    network: str
    truth: float | str
    predicted: float | str
    confidence: float | None = None


@dataclass(frozen=True)
class Prediction:
    """How well a property can be read off weights.

    Attributes:
        target: The property.
        classes: Its classes; empty where it is a number.
        networks: How many there were for training, validation and testing.
        architectures: How many specs they have.
        scores: On networks for testing, one value a seed.
        answers: For every one of these networks.
        skipped: Why networks were left out, by name.
        parameters: Trained parameters of the reader.
        seconds: Of training, mean over seeds.
        readers: Those that were trained, one a seed.
    """

    target: str
    classes: tuple[str, ...]
    networks: tuple[int, int, int]
    architectures: int
    scores: Mapping[str, tuple[float, ...]]
    answers: tuple[Answer, ...]
    skipped: Mapping[str, str]
    parameters: int
    seconds: float
    readers: Readers

    def __repr__(self) -> str:
        scores = ", ".join(f"{s} {self.mean(s):.3g} ± {self.std(s):.2g}" for s in self.scores)
        train, validation, test = self.networks
        return (
            f"Prediction({self.target!r}, {self.task}: {scores}; {test} networks for testing, "
            f"{train} for training and {validation} for validation)"
        )

    @property
    def task(self) -> str:
        """`classification` or `regression`."""
        return "classification" if self.classes else "regression"

    def mean(self, score: str) -> float:
        """Mean of a score over seeds."""
        return float(np.mean(self.scores[score]))

    def std(self, score: str) -> float:
        """Standard deviation of a score over seeds; 0 for one."""
        return float(np.std(self.scores[score]))

    def to_json(self) -> dict[str, Any]:
        """All but the readers as JSON values; None where a number is not finite."""
        means = {name: {"mean": self.mean(name), "std": self.std(name)} for name in self.scores}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "readers"}
        values["answers"] = [asdict(answer) for answer in self.answers]
        content: dict[str, Any] = clean({"task": self.task, **values, "summary": means})
        return content
