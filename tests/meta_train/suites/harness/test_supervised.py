"""What an experiment does with a network before its first step."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from meta_train.suites.harness import (
    Examples,
    FitConfig,
    Noted,
    Objective,
    Prepared,
    Raw,
    Supervised,
)
from meta_train.suites.harness._notes import Augment
from nfn_optim import WeightSpaceFeatures
from nfn_optim.networks import HeadConfig, StatNN
from nfn_optim.testing import chain_spec, random_features

SPEC = chain_spec((2, 3, 1))


def examples_of(n: int, generator: torch.Generator) -> Examples:
    features = random_features(SPEC, 1, generator, batch=(n,), dtype=torch.float32)
    return Examples(features, torch.rand(n, 1, generator=generator))


def score(predictions: Tensor, targets: Tensor) -> float:
    return float(F.mse_loss(predictions, targets))


class Witness(Prepared):
    """Remembers what it was prepared with, and what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, int]] = []

    def prepare(self, examples: Examples) -> None:
        self.told.append(("prepared with", len(examples)))

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        self.told.append(("read", features.batch_shape[0]))
        return features


@pytest.mark.parametrize("num_known", [None, 6])
def test_parts_see_what_is_known_before_the_first_step(
    num_known: int | None, generator: torch.Generator
) -> None:
    some = partial(examples_of, generator=generator)
    witness = Witness()
    network = Raw(nn.Sequential(witness, StatNN(SPEC, HeadConfig((4,)))))
    config = FitConfig(num_steps=2, batch_size=4)
    objective, known = Objective(F.mse_loss, score), num_known and some(num_known)
    experiment = Supervised(some(8), some(3), some(5), objective, config, known=known)
    experiment.run(network, 0, lambda *_: None)
    assert witness.told == [("prepared with", num_known or 8), *[("read", n) for n in (4, 4, 3, 5)]]


class Noting(Prepared):
    """Notes the mean of every network, once it is prepared, and adds it to what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.read = nn.Linear(2, 1)
        self.given: list[Tensor] = []
        self.offset = 0.0

    def prepare(self, examples: Examples) -> None:
        self.offset = 10.0

    def note(self, features: WeightSpaceFeatures) -> tuple[Tensor, ...]:
        self.seen += features.batch_shape[0]
        return (means(features) + self.offset,)

    def forward(self, noted: Noted) -> Tensor:
        (note,) = noted.notes
        self.given.append(note - means(noted.features))
        return self.read(torch.stack([note, means(noted.features)], 1))


def means(features: WeightSpaceFeatures) -> Tensor:
    return torch.cat([tensor.flatten(1) for tensor in features.values()], 1).mean(1)


def louder(examples: Examples, generator: torch.Generator) -> Examples:
    return replace(examples, features=examples.features.map(lambda tensor: tensor + 100))


@pytest.mark.parametrize("augment", [None, louder])
def test_notes_are_taken_once_and_stay_with_their_networks(
    augment: Augment | None, generator: torch.Generator
) -> None:
    some = partial(examples_of, generator=generator)
    part, num_train = Noting(), 200
    objective = Objective(F.mse_loss, score, augment=augment)
    config = FitConfig(num_steps=3, batch_size=8)
    experiment = Supervised(some(num_train), some(3), some(5), objective, config)
    outcome = experiment.run(Raw(part), 0, lambda *_: None)
    assert part.seen == num_train + 3 + 5 + 1  # and one to see whether there are notes
    assert outcome.predictions.shape == (5, 1)
    shift = 0.0 if augment is None else 100.0
    *steps, validated, tested = part.given
    for given, expected in (*((each, 10 - shift) for each in steps), (validated, 10), (tested, 10)):
        torch.testing.assert_close(given, torch.full_like(given, expected), rtol=1e-4, atol=1e-4)
