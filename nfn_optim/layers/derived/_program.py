"""A plan as numbers, as the native passes read it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import prod

from ._plan import Level, Plan, Pooled


@dataclass(frozen=True)
class Program:
    """What the native passes need to know of a plan.

    Attributes:
        numbers: Number of levels; rows, columns, width and number of sources of each; and its
            sources: parameter and parent (-1 for none), first column there, axis, width, and first
            column here.
        arena: Entries times columns of all levels of one network that are no parameter.
        labels: Most labels of a level.
        widest: Most columns of a level with so many labels.
    """

    numbers: array[int]
    arena: int
    labels: int
    widest: int

    @classmethod
    def of(cls, plan: Plan) -> Program:
        """Writes a plan down."""
        numbers, arena = array("q", [len(plan.levels)]), 0
        for level in plan.levels:
            sizes = (1, 1, *level.sizes)[-2:]
            numbers.extend((*sizes, level.width, len(level.sources)))
            if level.param is None:
                arena += prod(level.sizes) * level.width
        for level in plan.levels:
            numbers.extend(_sources(plan, level))
        labels = max(len(level.kept) for level in plan.levels)
        widest = max(level.width for level in plan.levels if len(level.kept) == labels)
        return cls(numbers, arena, labels, widest)


def _sources(plan: Plan, level: Level) -> list[int]:
    numbers, column = [], 0
    for source in level.sources:
        if isinstance(source, Pooled):
            axis = source.dim - 1 if len(plan.levels[source.parent].kept) > 1 else 1
            numbers += [-1, source.parent, source.start, axis, source.width, column]
        else:
            numbers += [source.param, -1, 0, 0, source.width, column]
        column += source.width
    return numbers
