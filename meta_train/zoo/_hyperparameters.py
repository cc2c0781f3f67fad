"""The hyperparameters in which classifiers of a zoo differ.

After the Small CNN Zoo (Unterthiner et al., 2020). Shape legend: `n` networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf, log, prod

import torch
from torch import Tensor, nn

from nfn_optim import AdamRule, NetworkSpec, SGDRule, UpdateRule

from ..support import require_counts
from ..tasks import Params

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}
OPTIMIZERS = ("adam", "sgd", "momentum")
_MOMENTUM = 0.9

Range = tuple[float, float]


@dataclass(frozen=True)
class ClassifierConfig:
    """How long classifiers are trained, and what their hyperparameters are drawn from.

    Ranges are log-uniform, but for the dropout's.

    Attributes:
        checkpoints: Steps after which a network may join the zoo, in order.
        kept: How many of them each network joins at, drawn at random; None is all.
        batch_size: Samples a step, each network's own, drawn with replacement.
        lr: Learning rates.
        l2: Coefficients of the squared weights in the loss.
        init_scale: Deviations of initial weights in units of 1 / sqrt(fan-in); biases start at 0.
        dropout: Probabilities of dropping a channel after each activation.
        train_fractions: Parts of the training data that a network sees.
        activations: Some of `relu` and `tanh`.
        optimizers: Some of `adam`, `sgd` and `momentum` (SGD with 0.9).
        num_evaluated: Test samples that losses and accuracies are measured on, as many of one
            class as of another, so that guessing is equally right for all.
        num_train_evaluated: Training samples, likewise.

    Raises:
        ValueError: Naming the first attribute that is out of its range.
    """

    checkpoints: tuple[int, ...] = (0, 100, 300, 1000)
    kept: int | None = None
    batch_size: int = 16
    lr: Range = (5e-4, 5e-2)
    l2: Range = (1e-8, 1e-2)
    init_scale: Range = (0.1, 5.0)
    dropout: Range = (0.0, 0.7)
    train_fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    activations: tuple[str, ...] = tuple(ACTIVATIONS)
    optimizers: tuple[str, ...] = OPTIMIZERS
    num_evaluated: int = 2000
    num_train_evaluated: int = 2000

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_choices()

    def _check_counts(self) -> None:
        steps = self.checkpoints
        if not steps or steps[0] < 0 or any(a >= b for a, b in pairwise(steps)):
            raise ValueError(f"checkpoints must be steps in ascending order; got {steps}.")
        if self.kept is not None and not 1 <= self.kept <= len(steps):
            raise ValueError(f"kept must be 1 to {len(steps)}, the checkpoints; got {self.kept}.")
        require_counts(self, "batch_size", "num_evaluated", "num_train_evaluated")

    def _check_choices(self) -> None:
        for name, known in (("activations", tuple(ACTIVATIONS)), ("optimizers", OPTIMIZERS)):
            chosen = getattr(self, name)
            if not chosen or not set(chosen) <= set(known):
                raise ValueError(f"{name} must be some of {known}; got {chosen}.")
        for name in ("lr", "l2", "init_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high < inf:
                raise ValueError(
                    f"{name} must be a range of positive, finite numbers, the lower first; got "
                    f"{low, high}."
                )
        if not 0 <= self.dropout[0] <= self.dropout[1] < 1:
            raise ValueError(f"dropout must be a range within [0, 1); got {self.dropout}.")
        if not self.train_fractions or not all(0 < f <= 1 for f in self.train_fractions):
            raise ValueError(f"train_fractions must be in (0, 1]; got {self.train_fractions}.")


def draw(config: ClassifierConfig, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Hyperparameters `(n,)` by name."""
    uniform = torch.rand(4, n, generator=generator)
    fractions = torch.tensor(config.train_fractions)
    low, high = config.dropout
    return {
        "lr": _log_uniform(config.lr, uniform[0]),
        "l2": _log_uniform(config.l2, uniform[1]),
        "init_scale": _log_uniform(config.init_scale, uniform[2]),
        "dropout": low + (high - low) * uniform[3],
        "train_fraction": fractions[torch.randint(len(fractions), (n,), generator=generator)],
    }


def draw_checkpoints(config: ClassifierConfig, n: int, generator: torch.Generator) -> Tensor:
    """Which checkpoints networks join the zoo at, `(checkpoints, n)`."""
    total = len(config.checkpoints)
    order = torch.rand(n, total, generator=generator).argsort(1)
    return (order < (config.kept or total)).T


def initial(spec: NetworkSpec, scale: Tensor, generator: torch.Generator) -> Params:
    """Draws normal weights `(n, *stored)` of the given scale, and zero biases."""
    params = {}
    for name, shape in spec.stored.items():
        noise = torch.randn((len(scale), *shape), generator=generator)
        deviation = scale / prod(shape[1:]) ** 0.5 if len(shape) > 1 else torch.zeros_like(scale)
        params[name] = noise * deviation.reshape(-1, *[1] * len(shape))
    return params


def make_rule(optimizer: str, lr: Tensor) -> UpdateRule:
    """The optimizer of networks with learning rates `(n,)`."""
    if optimizer == "adam":
        return AdamRule(lr)
    return SGDRule(lr, momentum=_MOMENTUM if optimizer == "momentum" else 0.0)


def _log_uniform(limits: Range, uniform: Tensor) -> Tensor:
    low, high = map(log, limits)
    return (low + (high - low) * uniform).exp()
