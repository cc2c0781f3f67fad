"""The learning rate of a group: a factor on the learned step, or a rate as Adam's are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

Unit = Literal["adam", "relative"]
UNITS: tuple[Unit, ...] = ("adam", "relative")
ADAMS_LR = 1e-3  # of the learned step as it is, where rates are as Adam's
LOOKED_AT = 10  # step after which rates are looked at
_LIKE_ADAMS = 0.05  # rates below are hardly meant as factors
# What schedulers write beside `lr`: what it starts from, and what it goes to.
_PLANNED = ("lr", "initial_lr", "max_lr")


def rate_of(group: Mapping[str, Any]) -> Any:
    """The factor on the learned step, whatever the unit of a group's `lr`."""
    return group["lr"] / ADAMS_LR if group["lr_unit"] == "adam" else group["lr"]


def whole_rate(unit: Unit | None) -> float:
    """The rate that leaves learned steps as they are."""
    return ADAMS_LR if unit == "adam" else 1.0


def rate_in(unit: Unit | None, defaults: Mapping[str, Any]) -> Any:
    """The default rate for a group that gives none: in its own unit, where it has one."""
    if unit in (None, defaults["lr_unit"]):
        return defaults["lr"]
    return rate_of(defaults) * whole_rate(unit)


def kept_share(group: Mapping[str, Any], step_size: float | Tensor) -> Any:
    """What decoupled weight decay leaves of a group's parameters in a step: AdamW's formula.

    Args:
        group: Its rate and `weight_decay` count.
        step_size: The rule's, in place of AdamW's learning rate.
    """
    return 1 - rate_of(group) * step_size * group["weight_decay"]


def unit_for(lr: float | Tensor, groups: Sequence[Mapping[str, Any]]) -> Unit | None:
    """Adam's unit where all rates are as small as Adam's, with a warning; else none is told.

    It is decided once, from what the user gives: rates that schedulers write later, such as those
    of a warm-up, keep it.

    Args:
        lr: The rate of groups that have none.
        groups: Those whose unit the user does not tell have a say.
    """
    rates = [float(group.get("lr", lr)) for group in groups if group.get("lr_unit") is None]
    largest = max(rates, default=1.0)
    if not 0 < largest < _LIKE_ADAMS:
        return None
    warnings.warn(
        f"lr={largest:g} looks like a learning rate of Adam's, and NFNOptimizer takes it as one: "
        f"{ADAMS_LR:g} leaves learned steps as they are, so this makes them {largest / ADAMS_LR:g} "
        "times as large. With lr_unit='adam' it is the same without this warning, with "
        f"lr_unit='relative' steps are multiplied by {largest:g}, and without lr there is nothing "
        "to tune.",
        stacklevel=3,
    )
    return "adam"


def warn_of_small(groups: Sequence[Mapping[str, Any]]) -> None:
    """Warns of a rate as small as Adam's whose unit was not told, and that is not planned to grow.

    So a script is told whose scheduler writes Adam's rates, and none for its warm-up.
    """
    untold = [group for group in groups if group["lr_unit"] is None]
    planned = [max(float(group.get(key, 0)) for key in _PLANNED) for group in untold]
    last = [float(group["swa_lr"]) for group in untold if "swa_lr" in group]
    small = next((rate for rate in (*planned, *last) if 0 < rate < _LIKE_ADAMS), None)
    if small is not None:
        warnings.warn(
            f"NFNOptimizer is to take steps at a learning rate of {small:g}; 1.0 is the learned "
            f"step as it is. If it is meant as Adam's, give NFNOptimizer lr_unit='adam' (then "
            f"{ADAMS_LR:g} is the learned step as it is); if not, lr_unit='relative'.",
            stacklevel=5,
        )
