"""Training a chunk of classifiers of one kind, and measuring them.

Shape legend: `n` networks, `b` samples a batch, images `(c, h, w)`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec

from ..population import (
    Classification,
    IndexedBatch,
    Population,
    as_params,
    cross_entropy,
    hidden_channels,
    join,
    outputs_of,
)
from ..tasks import Dataset, Params
from ._hyperparameters import ClassifierConfig, draw, draw_checkpoints, initial, make_rule

_FEW = 1 / 4  # of the samples asked for


@dataclass(frozen=True, eq=False)
class ClassifierTrainer:
    """Trains networks that share activation and optimizer.

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
        problem = Classification(
            module=self.module,
            spec=self.spec,
            inputs=self.data.x_train,
            targets=self.data.y_train,
            l2=settings["l2"],
        )
        weights, labels, done = [], [], 0
        for step, chosen in zip(self.config.checkpoints, joins, strict=True):
            if step > done:
                batches = self._batches(settings, step - done, generator)
                population, done = population.take_steps(problem, batches), step
            network = chosen.nonzero().flatten()
            rows = population.weights[network]
            weights.append(as_params(self.spec, rows))
            own = {name: value[network] for name, value in settings.items()}
            own |= {"network": network, "step": torch.full_like(network, step)}
            labels.append(own | self._measure(rows))
        return join(weights), join(labels)

    def _batches(
        self, settings: dict[str, Tensor], steps: int, generator: torch.Generator
    ) -> Iterator[IndexedBatch]:
        """Samples of each network `(n, b)` and dropout `(n, b, channels)`."""
        n, b = len(settings["lr"]), self.config.batch_size
        seen = (settings["train_fraction"] * len(self.data.y_train)).floor().clamp(min=1)[:, None]
        dropout = settings["dropout"][:, None, None]
        for _ in range(steps):
            index = (torch.rand(n, b, generator=generator) * seen).long()
            noise = [torch.rand(n, b, c, generator=generator) for c in hidden_channels(self.module)]
            yield index, *[(one >= dropout) / (1 - dropout) for one in noise]

    def _measure(self, weights: Tensor) -> dict[str, Tensor]:
        """Loss and accuracy `(n,)` on training data that all networks saw, and on test data."""
        scores = {}
        for name, (images, targets, count) in _parts(self.data, self.config).items():
            index = _balanced(targets, count)
            images, targets = images[index], targets[index]
            logits = outputs_of(self.module, self.spec, weights, images)
            scores[f"{name}_loss"] = cross_entropy(logits, targets.expand(len(logits), -1))
            scores[f"{name}_accuracy"] = (logits.argmax(-1) == targets).float().mean(1)
        return scores


def warn_of_rare_classes(data: Dataset, config: ClassifierConfig) -> None:
    """Warns where a rare class leaves few samples to measure on."""
    rare = []
    for name, (_, targets, count) in _parts(data, config).items():
        used, wanted = len(_balanced(targets, count)), min(count, len(targets))
        if used < _FEW * wanted:
            classes, sizes = targets.unique(return_counts=True)
            label, size = int(classes[sizes.argmin()]), int(sizes.min())
            rare.append(f"{used} {name} samples instead of {wanted} (class {label} has {size})")
    if rare:
        warnings.warn(
            "losses and accuracies are measured on as many samples of each class, here "
            f"{' and '.join(rare)}. They are coarse: add samples of rare classes, leave those out, "
            "or let all networks see more with larger train_fractions.",
            stacklevel=3,
        )


def _parts(data: Dataset, config: ClassifierConfig) -> dict[str, tuple[Tensor, Tensor, int]]:
    """Images and labels that all networks saw or that none did, and how many to measure on."""
    seen = max(1, int(min(config.train_fractions) * len(data.y_train)))
    return {
        "train": (data.x_train[:seen], data.y_train[:seen], config.num_train_evaluated),
        "test": (data.x_test, data.y_test, config.num_evaluated),
    }


def _balanced(targets: Tensor, count: int) -> Tensor:
    """The first samples, as many of one class as of another and `count` in all at most.

    Networks that always answer the same are then all equally right, whatever they answer.
    """
    places = [(targets == label).nonzero().flatten() for label in targets.unique()]
    each = min(max(1, count // len(places)), *map(len, places))
    return torch.cat([place[:each] for place in places])
