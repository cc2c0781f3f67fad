"""The learning rate of a group: a factor on the learned step, or a rate as Adam's are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

Unit = Literal["adam", "relative"]
UNITS: tuple[Unit, ...] = ("adam", "relative")
ADAMS_LR = 1e-3  # of the learned step as it is, where rates are as Adam's
LIKE_ADAMS = 0.05  # rates below are hardly meant as factors


def rate_of(group: Mapping[str, Any]) -> Any:
    """The factor on the learned step, whatever the unit of a group's `lr`."""
    lr = group["lr"]
    if isinstance(lr, Tensor):
        lr = lr.reshape(())  # any shape of one number
    return lr / ADAMS_LR if group["lr_unit"] == "adam" else lr


def whole_rate(unit: Unit | None) -> float:
    """The rate that leaves learned steps as they are."""
    return ADAMS_LR if unit == "adam" else 1.0


def kept_share(group: Mapping[str, Any], step_size: float | Tensor) -> Any:
    """What decoupled weight decay leaves of a group's parameters in a step: AdamW's formula.

    Args:
        group: Its rate and `weight_decay` count.
        step_size: The rule's, in place of AdamW's learning rate.
    """
    return 1 - rate_of(group) * step_size * group["weight_decay"]


def unit_for(
    lr: float | Tensor | None,
    groups: Sequence[Mapping[str, Any]],
    known: Unit | None = None,
    stacklevel: int = 3,
) -> Unit | None:
    """Adam's unit where all rates are as small as Adam's, with a warning; else none is told.

    It is decided by what the user gives: rates that schedulers write later, such as those of a
    warm-up, keep it.

    Args:
        lr: The rate of groups that have none, where it was given.
        groups: Those whose unit the user does not tell have a say.
        known: The unit of groups before them: if it is Adam's, there is no second warning.
        stacklevel: As for `warnings.warn`.
    """
    given = [group.get("lr", lr) for group in groups if group.get("lr_unit") is None]
    largest = max((float(rate) for rate in given if rate is not None), default=1.0)
    if not 0 < largest < LIKE_ADAMS:
        return None
    if known == "adam":
        return known
    change = f"makes learned steps {largest / ADAMS_LR:g} times as large"
    if largest == ADAMS_LR:
        change = "leaves learned steps as they are"
    warnings.warn(
        f"lr={largest:g} looks like a learning rate of Adam's, and NFNOptimizer takes it as one, "
        f"which {change}. With lr_unit='adam' it is the same without this warning, with "
        f"lr_unit='relative' steps are multiplied by {largest:g}, and without lr there is nothing "
        "to tune.",
        stacklevel=stacklevel,
    )
    return "adam"


def default_rate(lr: float | Tensor | None, told: Unit | None, unit: Unit | None) -> Any:
    """The rate of groups that give none, in the unit that was decided on.

    A rate too large for Adam's is a factor also where the groups' own rates are Adam's.
    """
    if lr is None:
        return whole_rate(unit)
    is_factor = told is None and unit == "adam" and float(lr) >= LIKE_ADAMS
    return lr * ADAMS_LR if is_factor else lr


def with_rate(
    group: Mapping[str, Any], defaults: Mapping[str, Any], is_decided: bool
) -> dict[str, Any]:
    """A group that joins, with its rate and unit.

    Args:
        group: Without a rate it has the default one, in its own unit where it has one.
        defaults: Of the optimizer.
        is_decided: Whether the unit is the optimizer's; else the group's own rate has a say.
    """
    unit, default = group.get("lr_unit"), defaults["lr_unit"]
    if "lr" not in group:
        is_same = unit in (None, default)
        lr = defaults["lr"] if is_same else rate_of(defaults) * whole_rate(unit)
        return {**group, "lr": lr, "lr_unit": unit or default}
    if unit is None:
        unit = default if is_decided else unit_for(None, [group], default, stacklevel=4)
    return {**group, "lr_unit": unit}
