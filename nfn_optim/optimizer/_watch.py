"""Looks at the rates of steps, so that no run is a snail or explodes without a word."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ._rates import ADAMS_LR, LIKE_ADAMS, rate_of

_LOOKED_AT = (10, 100, 1_000, 10_000, 100_000)  # steps at which small rates are told of
_LONGEST_WARM_UP = 100_000  # steps
_HUGE = 50.0  # times the learned step
_ADVICE = (
    f"If it is meant as Adam's, give NFNOptimizer lr_unit='adam' (then {ADAMS_LR:g} is the learned "
    "step as it is); if not, lr_unit='relative'."
)


@dataclass
class RateWatch:
    """Sees what schedulers and loops write, and warns of each kind of surprise once.

    Attributes:
        steps: That were looked at.
        largest: The largest rate of each group so far.
        is_small_told: Whether small rates were told of, or are not to be, as in a resumed run.
        is_huge_told: Whether huge ones were.
    """

    steps: int = 0
    largest: dict[int, float] = field(default_factory=dict)
    is_small_told: bool = False
    is_huge_told: bool = False

    def look(self, groups: Sequence[dict[str, Any]], may_wait: bool = True) -> None:
        """Looks at the groups before a step.

        A schedule that never goes beyond Adam's rates, and says so (`OneCycleLR`), is taken as
        Adam's.

        Args:
            groups: Of the optimizer.
            may_wait: Whether the host may wait for rates that are tensors; else they are not read.
        """
        self.steps += 1
        for position, group in enumerate(groups):
            if group["lr_unit"] is None and 0 < float(group.get("max_lr", 0)) < LIKE_ADAMS:
                group["lr_unit"] = "adam"
                self._tell_of_plan(float(group["max_lr"]))
            if isinstance(group["lr"], Tensor) and not may_wait:
                continue
            if group["lr_unit"] is None and not self.is_small_told:
                self._look_for_small(position, group)
            if not self.is_huge_told and float(rate_of(group)) >= _HUGE:
                self.is_huge_told = True
                _warn_of_huge(group)

    def _tell_of_plan(self, largest: float) -> None:
        if not self.is_small_told:
            self.is_small_told = True
            _warn_of_plan(largest)

    def _look_for_small(self, position: int, group: dict[str, Any]) -> None:
        rate, goal = float(group["lr"]), float(group.get("swa_lr", 0))
        largest = self.largest[position] = max(rate, self.largest.get(position, 0.0))
        is_small = self.steps in _LOOKED_AT and 0 < largest < self._expected(rate, largest, group)
        if is_small or 0 < goal < LIKE_ADAMS:
            self.is_small_told = True
            _warn_of_small(largest if is_small else goal)

    def _expected(self, rate: float, largest: float, group: dict[str, Any]) -> float:
        """What a rate that is meant as a factor has reached by now, if only in a warm-up."""
        is_warm_up = rate == largest and float(group.get("initial_lr", 0)) >= LIKE_ADAMS
        return min(LIKE_ADAMS, self.steps / _LONGEST_WARM_UP) if is_warm_up else LIKE_ADAMS


def _warn_of_plan(largest: float) -> None:
    warnings.warn(
        f"a scheduler leads to max_lr={largest:g}, which looks like a learning rate of Adam's, and "
        f"NFNOptimizer takes its rates as Adam's: {ADAMS_LR:g} leaves learned steps as they are. "
        "With lr_unit='adam' it is the same without this warning, with lr_unit='relative' steps "
        f"are multiplied by up to {largest:g}.",
        stacklevel=_USER + 1,
    )


def _warn_of_small(rate: float) -> None:
    warnings.warn(
        f"NFNOptimizer is to take steps at a learning rate of {rate:g}; 1.0 is the learned step as "
        f"it is. {_ADVICE}",
        stacklevel=_USER + 1,
    )


def _warn_of_huge(group: dict[str, Any]) -> None:
    rate, times = float(group["lr"]), float(rate_of(group))
    whole = rate / times
    warnings.warn(
        f"NFNOptimizer is to take steps {times:g} times as large as learned ones: lr={rate:g}, "
        f"where {whole:g} is the learned step as it is. Rates such as this mean factors with "
        "lr_unit='relative', and Adam's with lr_unit='adam'.",
        stacklevel=_USER,
    )


_USER = 6  # frames from a warning to the call of step, which torch wraps twice
