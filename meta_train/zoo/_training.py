"""Training a chunk of classifiers of one kind, and measuring them.

Shape legend: `n` networks, `b` samples a batch, images `(c, h, w)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec

from ..tasks import Dataset, Params
from ._engine import Population, as_params, by_autograd, join, with_gradient
from ._hyperparameters import ClassifierConfig, draw, draw_checkpoints, initial, make_rule
from ._stacked import cross_entropy, forward, hidden_channels

Batch = tuple[Tensor, ...]  # images, targets, L2, dropout factors
_AT_ONCE = 100  # samples, when networks are measured


@dataclass(frozen=True, eq=False)
class Trainer:
    """What networks of one kind have in common.

    Attributes:
        spec: The networks' spec.
        module: Their layers.
        optimizer: Name of what trains them.
        data: Images and labels, in random order.
        config: Hyperparameters and checkpoints.
    """

    spec: NetworkSpec
    module: nn.Sequential
    optimizer: str
    data: Dataset
    config: ClassifierConfig

    def train(self, n: int, generator: torch.Generator) -> tuple[Params, dict[str, Tensor]]:
        """Stacked parameters and labels by name, a row for every network at its checkpoints.

        The label `network` counts from 0.
        """
        settings = draw(self.config, n, generator)
        joins = draw_checkpoints(self.config, n, generator)
        params = initial(self.spec, settings["init_scale"], generator)
        rule = make_rule(self.optimizer, settings["lr"])
        population = Population.start(self.spec, rule, params)
        weights, labels, done = [], [], 0
        for step, chosen in zip(self.config.checkpoints, joins, strict=True):
            if step > done:
                batches = self._batches(settings, step - done, generator)
                population, done = population.train(self._loss, batches), step
            network = chosen.nonzero().flatten()
            weights.append({name: tensor[network] for name, tensor in population.params.items()})
            own = {name: value[network] for name, value in settings.items()}
            own |= {"network": network, "step": torch.full_like(network, step)}
            labels.append(own | self._measure(weights[-1]))
        return join(weights), join(labels)

    def _loss(self, weights: Tensor, batch: Batch) -> Tensor:
        return with_gradient(by_autograd(self._losses), weights, *batch)

    def _losses(
        self, weights: Tensor, images: Tensor, targets: Tensor, l2: Tensor, *keep: Tensor
    ) -> Tensor:
        """Cross-entropies with L2 `(n,)`."""
        params = as_params(self.spec, weights)
        losses = cross_entropy(forward(self.module, params, images, keep), targets)
        squares = [params[name].flatten(1).square().sum(1) for name in self.spec.weights]
        return losses + l2 * torch.stack(squares).sum(0)

    def _batches(
        self, settings: dict[str, Tensor], steps: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """Images `(n, b, c, h, w)`, targets `(n, b)`, L2 `(n,)`, dropout `(n, b, channels)`."""
        n, b = len(settings["lr"]), self.config.batch_size
        seen = (settings["train_fraction"] * len(self.data.y_train)).floor().clamp(min=1)[:, None]
        dropout = settings["dropout"][:, None, None]
        for _ in range(steps):
            index = (torch.rand(n, b, generator=generator) * seen).long()
            noise = [torch.rand(n, b, c, generator=generator) for c in hidden_channels(self.module)]
            keep = [(one >= dropout) / (1 - dropout) for one in noise]
            yield self.data.x_train[index], self.data.y_train[index], settings["l2"], *keep

    def _measure(self, params: Params) -> dict[str, Tensor]:
        """Loss and accuracy `(n,)` on training data that all networks saw, and on test data."""
        data, count = self.data, self.config.num_evaluated
        smallest = max(1, int(min(self.config.train_fractions) * len(data.y_train)))
        train = slice(min(count, smallest))
        parts = {
            "train": (data.x_train[train], data.y_train[train]),
            "test": (data.x_test[:count], data.y_test[:count]),
        }
        scores = {}
        for name, (images, targets) in parts.items():
            logits = self._logits(params, images)
            scores[f"{name}_loss"] = cross_entropy(logits, targets.expand(len(logits), -1))
            scores[f"{name}_accuracy"] = (logits.argmax(-1) == targets).float().mean(1)
        return scores

    def _logits(self, params: Params, images: Tensor) -> Tensor:
        """Of all networks for the same images, `(n, images, classes)`."""
        n = len(next(iter(params.values())))
        pieces = [piece.expand(n, *piece.shape) for piece in images.split(_AT_ONCE)]
        return torch.cat([forward(self.module, params, piece) for piece in pieces], dim=1)
