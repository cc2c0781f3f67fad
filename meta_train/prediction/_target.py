"""What is predicted of networks: classes or numbers, as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..zoo import Value

Task = Literal["regression", "classification"]
_MOST_CLASSES, _LEAST_MEMBERS = 20, 3


@dataclass(frozen=True, eq=False)
class Target:
    """A property of networks.

    Attributes:
        name: Its column.
        values: Numbers, or positions in `classes`, `(n,)`.
        classes: Of a classification; empty for numbers.
    """

    name: str
    values: Tensor
    classes: tuple[str, ...]

    @classmethod
    def of(cls, name: str, column: Sequence[Value], task: Task | None) -> Target:
        """Reads a column without gaps.

        Strings are classes; integers are where there are few different ones, and numbers where
        there are many.

        Raises:
            ValueError: If the column cannot be what `task` says, or has one value only.
        """
        numbers = [value for value in column if isinstance(value, int | float)]
        if len(set(column)) < 2:
            raise ValueError(
                f"all {len(column)} networks have {name} = {column[0]!r}. There is nothing to "
                "predict; choose another column."
            )
        if task is None:
            task = "classification" if _are_classes(column) else "regression"
        if task == "classification":
            classes = sorted(set(column), key=lambda value: (isinstance(value, str), value))
            index = {value: place for place, value in enumerate(classes)}
            values = torch.tensor([index[value] for value in column])
            return cls(name, values, tuple(map(str, classes)))
        if len(numbers) < len(column):
            text = next(value for value in column if isinstance(value, str))
            raise ValueError(f"{name} has {text!r}, which is no number. Use classification.")
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{name} has infinite values. Remove them, or take a logarithm.")
        return cls(name, torch.tensor(numbers, dtype=torch.float64), ())


def _are_classes(column: Sequence[Value]) -> bool:
    if any(isinstance(value, str) for value in column):
        return True
    different = len(set(column))
    few = different <= min(_MOST_CLASSES, len(column) // _LEAST_MEMBERS)
    return few and all(isinstance(value, int) for value in column)
