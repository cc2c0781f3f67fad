"""The plan of a derived layer: which parameter is averaged to where, in which columns.

A level is one subset S of labels. At level S every parameter that carries all of S is averaged over
its other labels; the results stand side by side as columns of one matrix `(B, *S, width*c)`.
Averages are taken one axis at a time, from the next larger level, adjacent columns together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, combinations
from math import prod

from ...symmetry import NetworkSpec, Shape
from .._fold import Fold, folds, population_order


@dataclass(frozen=True)
class Own:
    """Columns of a level that are a parameter itself: it carries exactly the level's labels."""

    param: int
    width: int


@dataclass(frozen=True)
class Pooled:
    """`width` columns from `start` of level `parent`, averaged over dimension `dim`.

    Counted in channels of width 1; `whole` if these are all columns of the parent. `size` is the
    number of neurons along the dimension.
    """

    parent: int
    start: int
    width: int
    whole: bool
    dim: int
    size: int


@dataclass(frozen=True)
class Level:
    """One subset of labels and the parameters that carry all of them.

    Attributes:
        kept: The labels, in canonical order.
        sizes: Their numbers of neurons.
        members: Indices of the parameters, in column order.
        starts: First column of each member.
        width: Number of columns.
        sources: Where the columns come from, in order.
        counts: For each member the number of entries an average at this level runs over.
    """

    kept: tuple[str, ...]
    sizes: Shape
    members: tuple[int, ...]
    starts: tuple[int, ...]
    width: int
    sources: tuple[Own | Pooled, ...]
    counts: tuple[int, ...]

    @property
    def param(self) -> int | None:
        """The parameter that the level is, if it is one and nothing else."""
        only = self.sources[0]
        return only.param if isinstance(only, Own) and len(self.sources) == 1 else None

    def columns(self, param: int) -> slice:
        """Columns of one member, in channels of width 1."""
        position = self.members.index(param)
        ends = (*self.starts[1:], self.width)
        return slice(self.starts[position], ends[position])


@dataclass(frozen=True)
class Plan:
    """Everything a derived layer needs to know about a spec.

    Attributes:
        spec: The spec, under the group at hand.
        folds: One fold a parameter.
        levels: Subsets of labels, larger ones first; the last is the empty set.
    """

    spec: NetworkSpec
    folds: tuple[Fold, ...]
    levels: tuple[Level, ...]

    def num_weights(self) -> int:
        """Weights for one pair of channels: the dimension of all equivariant linear maps."""
        return sum(level.width**2 for level in self.levels)


@lru_cache(maxsize=128)
def make_plan(spec: NetworkSpec) -> Plan:
    """Derives the plan of a spec's group.

    A population of one neuron is not permuted: maps that average over it would be superfluous.
    """
    alone = {label for label, size in spec.sizes.items() if size == 1}
    spec = replace(spec, fixed=spec.fixed | alone)
    builder = _Builder(spec)
    levels = tuple(builder.level(index) for index in range(len(builder.subsets)))
    return Plan(spec, builder.folds, levels)


class _Builder:
    """Works out a plan, larger subsets of labels first."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.sizes, self.folds = spec.sizes, folds(spec)
        rank = population_order(spec)
        found = {
            subset
            for fold in self.folds
            for size in range(len(fold.labels) + 1)
            for subset in combinations(fold.labels, size)
        }
        self.subsets = sorted(found, key=lambda kept: (-len(kept), [-rank[x] for x in kept]))
        self.members: list[tuple[int, ...]] = []
        for index in range(len(self.subsets)):
            carriers = [p for p in range(len(self.folds)) if self.carries(p, index)]
            self.members.append(tuple(sorted(carriers, key=lambda p: self.place(p, index))))

    def carries(self, param: int, index: int) -> bool:
        """Whether a parameter carries all labels of a level."""
        return set(self.subsets[index]) <= set(self.folds[param].labels)

    def missing(self, param: int, index: int) -> list[str]:
        """Labels of a parameter that a level does not keep."""
        return [x for x in self.folds[param].labels if x not in self.subsets[index]]

    def parent(self, param: int, index: int) -> int:
        """The next larger level, from which a parameter is summed to this one; -1 at home."""
        missing = self.missing(param, index)[:1]
        if not missing:
            return -1
        larger = {*self.subsets[index], *missing}
        return self.subsets.index(tuple(x for x in self.folds[param].labels if x in larger))

    def place(self, param: int, index: int) -> tuple[bool, int, int, int]:
        """Sorts members so that columns summed together stand together."""
        lower = range(index + 1, len(self.subsets))
        feeds = any(self.carries(param, i) and self.parent(param, i) == index for i in lower)
        parent = self.parent(param, index)
        position = self.members[parent].index(param) if parent >= 0 else -1
        return (not feeds, parent, position, param)

    def starts(self, index: int) -> tuple[int, ...]:
        """First column of each member of a level, and the number of columns at the end."""
        return (0, *accumulate(self.folds[p].width for p in self.members[index]))

    def level(self, index: int) -> Level:
        """Everything about one level."""
        kept, members, starts = self.subsets[index], self.members[index], self.starts(index)
        sources: list[Own | Pooled] = []
        for param in members:
            sources[-1:] = _merge(sources[-1:], self.source(param, index))
        counts = tuple(prod(self.sizes[x] for x in self.missing(p, index)) for p in members)
        sizes = tuple(self.sizes[x] for x in kept)
        return Level(kept, sizes, members, starts[:-1], starts[-1], tuple(sources), counts)

    def source(self, param: int, index: int) -> Own | Pooled:
        """Where one member's columns come from."""
        parent, width = self.parent(param, index), self.folds[param].width
        if parent < 0:
            return Own(param, width)
        starts = self.starts(parent)
        start = starts[self.members[parent].index(param)]
        label = self.missing(param, index)[0]
        dim = 1 + self.subsets[parent].index(label)
        return Pooled(parent, start, width, width == starts[-1], dim, self.sizes[label])


def _merge(last: list[Own | Pooled], source: Own | Pooled) -> list[Own | Pooled]:
    """Joins a source to the one before it where both read adjacent columns over the same axis."""
    for before in last:
        if (
            isinstance(before, Pooled)
            and isinstance(source, Pooled)
            and (before.parent, before.dim) == (source.parent, source.dim)
            and before.start + before.width == source.start
        ):
            return [replace(before, width=before.width + source.width)]
    return [*last, source]
