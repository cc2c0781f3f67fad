"""Winning tickets: sparse networks that train well from their start (Frankle & Carbin, 2019).

Weights are masked, biases never are. Tickets are global: one threshold for all layers.
Shape legend: `n` networks of `d` parameters, one after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt

import torch
from torch import Tensor, nn

from nfn_optim import AdamRule, NetworkSpec, WeightSpaceFeatures
from nfn_optim.cache import cache_folder

from ...population import (
    Classification,
    IndexedBatch,
    Population,
    as_params,
    chunk_seed,
    chunks,
    join,
    outputs_of,
)
from ...support import Progress, fingerprint, remember, require_counts
from ...tasks import Dataset, mlp

_CHUNK = 16  # networks at once: activations and weights of more leave the cache


@dataclass(frozen=True, kw_only=True)
class TicketConfig:
    """The networks, how sparse they become, and how they are trained.

    Attributes:
        hidden: Widths of the hidden layers.
        sparsity: Part of the weights that a mask removes.
        rounds: Rounds of training, pruning and going back to the start; each keeps the same part.
        num_steps: Adam steps of a round.
        test_steps: Adam steps of a network whose accuracy counts.
        batch_size: Images a step.
        lr: Adam's rate at the start; it falls linearly to 0.
    """

    hidden: tuple[int, ...] = (128, 128)
    sparsity: float = 0.95
    rounds: int = 1
    num_steps: int = 500
    test_steps: int = 1000
    batch_size: int = 64
    lr: float = 2e-3

    def __post_init__(self) -> None:
        if not 0 < self.sparsity < 1:
            raise ValueError(f"sparsity must be between 0 and 1; got {self.sparsity}.")
        require_counts(self, "hidden", "rounds", "num_steps", "test_steps", "batch_size")


@dataclass(frozen=True, eq=False)
class SparseNetworks:
    """Networks of one architecture for one data set, trained many at once under masks.

    Attributes:
        module: The architecture.
        spec: Its symmetry.
        data: What they classify.
        config: Sizes and steps.
    """

    module: nn.Sequential
    spec: NetworkSpec
    data: Dataset
    config: TicketConfig

    @property
    def deviations(self) -> Tensor:
        """Standard deviation of each parameter's start, `(d,)`: sqrt(2 / fan-in); 0 for biases."""
        per_parameter = []
        for name, shape in self.spec.stored.items():
            is_weight = name in self.spec.weights
            deviation = sqrt(2 / prod(shape[1:])) if is_weight else 0.0
            per_parameter.append(torch.full((prod(shape),), deviation))
        return torch.cat(per_parameter).to(self.data.x_train.device)

    @property
    def is_weight(self) -> Tensor:
        """Which parameters masks may remove, `(d,)`."""
        return self.deviations > 0

    @property
    def units(self) -> Tensor:
        """These deviations, and 1 for biases, `(d,)`."""
        return torch.where(self.is_weight, self.deviations, 1.0)

    def starts(self, n: int, generator: torch.Generator) -> Tensor:
        """New networks `(n, d)`, normal with these deviations."""
        deviations = self.deviations
        return torch.randn(n, len(deviations), generator=generator).to(deviations) * deviations

    def in_deviations(self, starts: Tensor) -> list[Tensor]:
        """Starts `(n, d)` in units of their deviations as features `(n, *axes, 1)` in order."""
        return self.as_channel(starts / self.units)

    def as_channel(self, rows: Tensor) -> list[Tensor]:
        """Parameters `(n, d)`, one after another, as features `(n, *axes, 1)` in order."""
        params = as_params(self.spec, rows)
        return list(WeightSpaceFeatures.from_params(self.spec, params).values())

    def num_kept(self, progress: float = 1.0) -> int:
        """Number of weights that masks keep after a part of the rounds."""
        return round((1 - self.config.sparsity) ** progress * int(self.is_weight.sum()))

    def keep_largest(self, scores: Tensor, num_kept: int) -> Tensor:
        """Masks `(n, d)`, 1 for biases and for the weights of the largest scores `(n, d)`."""
        ranked = scores.masked_fill(~self.is_weight, -torch.inf).topk(num_kept, dim=1).indices
        return torch.zeros_like(scores).scatter(1, ranked, 1.0).masked_fill(~self.is_weight, 1.0)

    def keep_largest_of_layers(self, scores: Tensor, counts: Mapping[str, int]) -> Tensor:
        """Masks `(n, d)` likewise, with a number of weights to keep in each layer, by name."""
        parts = []
        for name, tensor in as_params(self.spec, scores).items():
            rows = tensor.flatten(1)
            kept = rows.topk(counts.get(name, rows.shape[1]), dim=1).indices
            parts.append(torch.zeros_like(rows).scatter(1, kept, 1.0))
        return torch.cat(parts, dim=1)

    def counts(self, masks: Tensor) -> dict[str, int]:
        """Weights that masks `(n, d)` keep in each layer on average, with their sum exact."""
        kept = as_params(self.spec, masks)
        counts = {name: round(float(kept[name].sum() / len(masks))) for name in self.spec.weights}
        largest = max(self.spec.weights, key=lambda name: kept[name].numel())
        counts[largest] += round(float(masks[0, self.is_weight].sum())) - sum(counts.values())
        return counts

    def find_tickets(self, starts: Tensor, seed: int, on_progress: Progress) -> Tensor:
        """Masks `(n, d)` by iterative magnitude pruning, all rounds from the same starts."""
        masks, n = torch.ones_like(starts), len(starts)
        for done in range(1, self.config.rounds + 1):
            advance = partial(_advance, on_progress, (done - 1) * n, self.config.rounds * n)
            trained = self.train_masked(starts, masks, self.config.num_steps, seed, advance)
            num_kept = self.num_kept(done / self.config.rounds)
            masks = self.keep_largest(trained.abs().masked_fill(masks == 0, -1.0), num_kept)
        return masks

    def train_masked(
        self, starts: Tensor, masks: Tensor, num_steps: int, seed: int, on_progress: Progress
    ) -> Tensor:
        """Trains masked networks; weights `(n, d)` that are masked are 0."""
        parts, key = [], fingerprint(self)
        for chunk in chunks(len(starts), _CHUNK):
            given = (starts[chunk], masks[chunk], num_steps)
            make = partial(self._train_chunk, *given, chunk_seed(seed, chunk))
            chunk_key = (key, *given, seed, chunk.start)
            parts.append(remember(cache_folder(), "tickets", chunk_key, make))
            on_progress(chunk.stop, len(starts))
        return join(parts)["weights"].to(starts.device)

    def accuracies(self, weights: Tensor) -> Tensor:
        """Part of the test images that each network `(n, d)` classifies right, `(n,)`."""
        right = [
            outputs_of(self.module, self.spec, chunk, self.data.x_test).argmax(-1)
            == self.data.y_test
            for chunk in weights.split(_CHUNK)
        ]
        return torch.cat(right).float().mean(1)

    def _train_chunk(
        self, starts: Tensor, masks: Tensor, num_steps: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        objective = Classification(
            module=self.module,
            spec=self.spec,
            inputs=self.data.x_train,
            targets=self.data.y_train,
            masks=masks,
        )
        start = as_params(self.spec, starts * masks)
        population = Population.start(self.spec, AdamRule(self.config.lr), start)
        batches = self._batches(len(starts), num_steps, generator)
        trained = population.take_steps(objective, batches, lambda k: 1 - k / num_steps)
        return {"weights": trained.weights}

    def _batches(
        self, n: int, num_steps: int, generator: torch.Generator
    ) -> Iterator[IndexedBatch]:
        """Samples of each step; the networks of a chunk see the same."""
        for _ in range(num_steps):
            index = torch.randint(
                len(self.data.y_train), (self.config.batch_size,), generator=generator
            )
            yield (index.to(self.data.y_train.device).expand(n, -1),)


def classifier(num_inputs: int, num_classes: int, config: TicketConfig) -> nn.Sequential:
    """One network as a module."""
    return nn.Sequential(nn.Flatten(), *mlp((num_inputs, *config.hidden, num_classes)))


def _advance(on_progress: Progress, offset: int, total: int, done: int, _: int) -> None:
    """Progress of one of several rounds."""
    on_progress(offset + done, total)
