"""An optimizer to compare: how it is made, and the grid that it is tuned over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.optim import Optimizer

from nfn_optim import UpdateRule

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
}

MakeOptimizer = Callable[[nn.Module, float, int], Optimizer]
MakeRule = Callable[[Tensor], UpdateRule]


@dataclass(frozen=True)
class Setting:
    """One way to run an optimizer.

    Attributes:
        rate: Learning rate.
        schedule: Name of the factor on it, one of `SCHEDULES`.
    """

    rate: float
    schedule: str


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An optimizer and the settings it may be run with: one, or a grid to tune it over.

    Attributes:
        name: What reports call it.
        rates: Learning rates in ascending order.
        schedules: Names of schedules.
        make_optimizer: The optimizer of a module at a learning rate for a number of steps.
        make_rule: The same as a rule for learning rates `(n,)`, one for each network of a stack;
            with it, tasks of meta-training train all settings at once.
        told: Whether the rule is told the number of steps.
        packages: Importable packages whose files decide what a run gives: libraries, and what is
            loaded by name.
    """

    name: str
    rates: tuple[float, ...] = (1.0,)
    schedules: tuple[str, ...] = tuple(SCHEDULES)
    make_optimizer: MakeOptimizer | None = None
    make_rule: MakeRule | None = None
    told: bool = False
    packages: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every rate under every schedule."""
        return tuple(Setting(rate, name) for name in self.schedules for rate in self.rates)

    @property
    def is_tuned(self) -> bool:
        """Whether there is a choice of settings."""
        return len(self.settings) > 1

    def at(self, rate: float) -> Contender:
        """The same with nothing to tune: one rate, constant."""
        return replace(self, name=f"{self.name}@{rate:g}", rates=(rate,), schedules=("constant",))

    def narrowed(self, count: int) -> Contender:
        """The same with the `count` rates in the middle of the grid."""
        first = max(0, (len(self.rates) - count) // 2)
        return replace(self, rates=self.rates[first : first + count])

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
