"""Training a chunk of classifiers of one kind, and measuring them.

Shape legend: `n` networks, `b` samples a batch, images `(c, h, w)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import NetworkSpec

from ..tasks import Dataset, Params
from ._engine import Population, as_params, join, with_gradient
from ._hyperparameters import ClassifierConfig, draw, initial, make_rule
from ._stacked import cross_entropy, forward, gradients, hidden_channels

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
        """Stacked parameters and labels by name, a row for every checkpoint and network."""
        settings = draw(self.config, n, generator)
        params = initial(self.spec, settings["init_scale"], generator)
        rule = make_rule(self.optimizer, settings["lr"])
        population = Population.start(self.spec, rule, params)
        weights, labels, done = [], [], 0
        for step in self.config.checkpoints:
            if step > done:
                batches = self._batches(settings, step - done, generator)
                population, done = population.train(self._loss, batches), step
            weights.append(population.params)
            labels.append(
                {"step": torch.full((n,), step), **settings, **self._measure(weights[-1])}
            )
        return join(weights), join(labels)

    def _loss(self, weights: Tensor, batch: Batch) -> Tensor:
        return with_gradient(self._loss_and_gradient, weights, *batch)

    def _loss_and_gradient(
        self, weights: Tensor, images: Tensor, targets: Tensor, l2: Tensor, *keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropies with L2 `(n,)`, and gradients `(n, d)`."""
        params = as_params(self.spec, weights)
        logits, way = forward(self.module, params, images, keep)
        losses, adjoint = cross_entropy(logits, targets)
        grads = gradients(way, adjoint)
        matrices = torch.cat([p.flatten(1) * (p.dim() > 2) for p in params.values()], dim=1)
        gradient = torch.cat([grads[name].flatten(1) for name in params], dim=1)
        return losses + l2 * matrices.square().sum(1), gradient + 2 * l2[:, None] * matrices

    def _batches(
        self, settings: dict[str, Tensor], steps: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """Images `(n, c, h, w, b)`, targets `(n, b)`, L2 `(n,)`, dropout `(n, channels, b)`."""
        n, b = len(settings["lr"]), self.config.batch_size
        seen = (settings["train_fraction"] * len(self.data.y_train)).floor().clamp(min=1)[:, None]
        dropout = settings["dropout"][:, None, None]
        for _ in range(steps):
            index = (torch.rand(n, b, generator=generator) * seen).long()
            noise = [torch.rand(n, c, b, generator=generator) for c in hidden_channels(self.module)]
            keep = [(one >= dropout) / (1 - dropout) for one in noise]
            images = self.data.x_train[index].movedim(1, -1).contiguous()
            yield images, self.data.y_train[index], settings["l2"], *keep

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
            losses = F.cross_entropy(logits, targets.expand(len(logits), -1), reduction="none")
            scores[f"{name}_loss"] = losses.mean(1)
            scores[f"{name}_accuracy"] = (logits.argmax(1) == targets).float().mean(1)
        return scores

    def _logits(self, params: Params, images: Tensor) -> Tensor:
        """Of all networks for the same images, `(n, classes, images)`."""
        n = len(next(iter(params.values())))
        pieces = [
            piece.expand(n, *piece.shape) for piece in images.movedim(0, -1).split(_AT_ONCE, -1)
        ]
        return torch.cat([forward(self.module, params, piece)[0] for piece in pieces], dim=-1)
