"""Optimizers to compare: each is a rule for many learning rates and a grid to tune it over."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nfn_optim import AdamRule, SGDRule, UpdateRule

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
}


@dataclass(frozen=True)
class Setting:
    """One way to run an optimizer.

    Attributes:
        rate: Learning rate.
        schedule: Name of the factor on it, one of `SCHEDULES`.
    """

    rate: float
    schedule: str


@dataclass(frozen=True)
class Contender:
    """An optimizer and the settings it may be run with.

    Attributes:
        name: What reports call it.
        make_rule: The rule for learning rates `(n,)`, one for each network trained at once.
        rates: Learning rates in ascending order.
        schedules: Names of schedules.
        make_optimizer: The same as `torch.optim.Optimizer` of a module at one learning rate, to
            measure seconds; None where there is none.
        told: Whether the rule is told the number of steps.
    """

    name: str
    make_rule: Callable[[Tensor], UpdateRule]
    rates: tuple[float, ...]
    schedules: tuple[str, ...] = tuple(SCHEDULES)
    make_optimizer: Callable[[nn.Module, float], Optimizer] | None = None
    told: bool = False

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every rate under every schedule."""
        return tuple(Setting(rate, name) for name in self.schedules for rate in self.rates)

    def beyond(self, rate: float) -> Contender | None:
        """Two more rates where `rate` is an end of the grid, else None."""
        if len(self.rates) < 2 or self.rates[0] < rate < self.rates[-1]:
            return None
        low, high = self.rates[0], self.rates[-1]
        if rate <= low:
            factor = low / self.rates[1]
            return replace(self, rates=(low * factor**2, low * factor))
        factor = high / self.rates[-2]
        return replace(self, rates=(high * factor, high * factor**2))


def half_decades(low: int, high: int) -> tuple[float, ...]:
    """Powers of ten from `10**low` to `10**high` in steps of the root of ten."""
    return tuple(10 ** (k / 2) for k in range(2 * low, 2 * high + 1))


ADAM = Contender(
    "adam",
    AdamRule,
    half_decades(-4, -1),
    make_optimizer=lambda module, lr: torch.optim.Adam(module.parameters(), lr=lr),
)
ADAMW = Contender(
    "adamw",
    lambda lr: AdamRule(lr, weight_decay=0.01),
    half_decades(-4, -1),
    make_optimizer=lambda module, lr: torch.optim.AdamW(module.parameters(), lr=lr),
)
SGD = Contender(
    "sgd",
    lambda lr: SGDRule(lr, momentum=0.9),
    half_decades(-3, 0),
    make_optimizer=lambda module, lr: torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9),
)
BASELINES = {contender.name: contender for contender in (ADAM, ADAMW, SGD)}


def find_baseline(name: str) -> Contender:
    """A bundled baseline by name, or the user's own by `module:factory`.

    The factory takes learning rates `(n,)` and returns an `UpdateRule` for `n` networks; it is
    tuned over Adam's grid. Modules are looked up as Python does, the working directory included.

    Raises:
        ValueError: If there is no such baseline, module or factory.
    """
    if name in BASELINES:
        return BASELINES[name]
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(
            f"there is no baseline {name!r}. Choose {', '.join(BASELINES)} or give module:factory."
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"baseline {name!r} cannot be loaded ({error}). Give an importable module and the name "
            "of a function in it that takes learning rates (n,) and returns an UpdateRule."
        ) from error
    finally:
        sys.path.pop(0)
    if not isinstance(factory(torch.ones(2)), UpdateRule):
        raise ValueError(f"baseline {name!r} returned no UpdateRule. Return one from the factory.")
    return Contender(name, factory, half_decades(-4, -1))
