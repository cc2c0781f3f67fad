"""The experiment of most suites: networks with targets, split into three parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import nn

from ...support import Progress
from ._examples import Examples, Prepared, Raw, Standardize
from ._fit import FitConfig, Learnable, Objective, fit, predict, seeded
from ._notes import on_examples, take_notes
from ._suite import Outcome

_KEPT_NUMBERS = 1_000_000  # of predictions, for pictures

Finish = Callable[[nn.Module], nn.Module]
"""Makes the model that predicts targets from the network under test."""


@dataclass(frozen=True, eq=False)
class Supervised:
    """A network that learns from examples; it sees standardized features, but for `Raw` ones.

    Attributes:
        train: Examples for training.
        validation: Examples for validation.
        test: Examples for testing.
        objective: Loss, score and augmentation.
        config: How the network is trained.
        finish: Turns what the network writes into predictions, e.g. by rendering; it may hold
            trained parameters of its own.
        known: Networks whose statistics standardize features, and that `Prepared` parts see, with
            what is known of them; None is the examples for training.
    """

    train: Learnable
    validation: Learnable
    test: Learnable
    objective: Objective[Any]
    config: FitConfig
    finish: Finish = nn.Sequential
    known: Examples | None = None

    def run(self, network: nn.Module, seed: int, on_progress: Progress) -> Outcome:
        """Trains a new network and tests it."""
        device = self.train.targets.device
        known = self.train if self.known is None else self.known
        with seeded(seed, device):
            if not isinstance(network, Raw):
                network = nn.Sequential(Standardize(known.features), network)
            model = self.finish(network).to(device)
            start = time.perf_counter()
            data = self._prepared(model, known)
            prepared = time.perf_counter() - start
            validation, seconds = fit(
                model, data.train, data.validation, data.objective, self.config, seed, on_progress
            )
        predictions = predict(model, data.test)
        return Outcome(
            score=self.objective.score(predictions, self.test.targets),
            validation=validation,
            seconds=prepared + seconds,
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            predictions=predictions[: _KEPT_NUMBERS // prod(predictions.shape[1:]) + 1].cpu(),
        )

    def _prepared(self, model: nn.Module, known: Learnable) -> Supervised:
        """Prepares parts of a model, and has the first that takes notes take them."""
        data = self
        for part in model.modules():
            if isinstance(part, Prepared):
                part.prepare(known)
                data = data._noted(part)
        return data

    def _noted(self, part: Prepared) -> Supervised:
        several = self.train, self.validation, self.test
        given = [each for each in several if isinstance(each, Examples)]
        if len(given) < len(several) or not part.note(given[0].take(slice(1)).features):
            return self
        train, validation, test = (take_notes(part, each) for each in given)
        objective = replace(self.objective, augment=on_examples(self.objective.augment))
        return replace(self, train=train, validation=validation, test=test, objective=objective)
