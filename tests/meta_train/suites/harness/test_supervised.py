"""What an experiment does with a network before its first step."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from meta_train.suites.harness import Examples, FitConfig, Objective, Prepared, Raw, Supervised
from nfn_optim import WeightSpaceFeatures
from nfn_optim.networks import HeadConfig, StatNN
from nfn_optim.testing import chain_spec, random_features

SPEC = chain_spec((2, 3, 1))


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
    def some(n: int) -> Examples:
        features = random_features(SPEC, 1, generator, batch=(n,), dtype=torch.float32)
        return Examples(features, torch.rand(n, 1, generator=generator))

    def score(predictions: Tensor, targets: Tensor) -> float:
        return float(F.mse_loss(predictions, targets))

    witness = Witness()
    network = Raw(nn.Sequential(witness, StatNN(SPEC, HeadConfig((4,)))))
    config = FitConfig(num_steps=2, batch_size=4)
    objective, known = Objective(F.mse_loss, score), num_known and some(num_known)
    experiment = Supervised(some(8), some(3), some(5), objective, config, known=known)
    experiment.run(network, 0, lambda *_: None)
    assert witness.told == [("prepared with", num_known or 8), *[("read", n) for n in (4, 4, 3, 5)]]
