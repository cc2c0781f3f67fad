"""The plan of a derived layer: which parameter is averaged to where, in which columns.

A level is one subset S of labels. At level S every parameter that carries all of S is averaged over
its other labels; the results stand side by side as columns of one matrix `(B, *S, width*c)`. Sums
are taken one axis at a time, from the next larger level, adjacent columns together, and divided
once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import prod

from .._spec import NetworkSpec, Shape
from ._fold import Fold, folds, population_order


@dataclass(frozen=True)
class Own:
    """Columns of a level that are a parameter itself: it carries exactly the level's labels."""

    param: int
    width: int


@dataclass(frozen=True)
class Pooled:
    """Columns `start:stop` of level `parent`, summed over dimension `dim`.

    They land in columns `at:` of the level that holds this source. All counts are in channels of
    width 1.
    """

    parent: int
    start: int
    stop: int
    dim: int
    at: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.stop - self.start


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
    def pooled(self) -> tuple[Pooled, ...]:
        """Sources that come from larger levels."""
        return tuple(source for source in self.sources if isinstance(source, Pooled))

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
        homes: For each parameter the level of exactly its own labels.
        feeds: For each level what the levels below average from it, as (level below, source).
    """

    spec: NetworkSpec
    folds: tuple[Fold, ...]
    levels: tuple[Level, ...]
    homes: tuple[int, ...]
    feeds: tuple[tuple[tuple[int, Pooled], ...], ...]

    def num_weights(self) -> int:
        """Weights for one pair of channels: the dimension of all equivariant linear maps."""
        return sum(level.width**2 for level in self.levels)


@lru_cache(maxsize=128)
def make_plan(spec: NetworkSpec) -> Plan:
    """Derives the plan of a spec's group."""
    fold_of = folds(spec)
    subsets = _subsets(spec, fold_of)
    parents = _parents(fold_of, subsets)
    members = _members(fold_of, subsets, parents)
    levels = tuple(
        _level(spec, fold_of, subsets, parents, members, index) for index in range(len(subsets))
    )
    homes = tuple(subsets.index(fold.labels) for fold in fold_of)
    feeds = tuple(
        tuple(
            (lower, source)
            for lower, level in enumerate(levels)
            for source in level.pooled
            if source.parent == upper
        )
        for upper in range(len(levels))
    )
    return Plan(spec, fold_of, levels, homes, feeds)


def _subsets(spec: NetworkSpec, fold_of: tuple[Fold, ...]) -> list[tuple[str, ...]]:
    """All subsets of the parameters' labels, larger ones first, each in canonical order."""
    found = {
        subset
        for fold in fold_of
        for size in range(len(fold.labels) + 1)
        for subset in combinations(fold.labels, size)
    }
    rank = population_order(spec)
    return sorted(found, key=lambda kept: (-len(kept), [-rank[label] for label in kept]))


def _parents(
    fold_of: tuple[Fold, ...], subsets: list[tuple[str, ...]]
) -> dict[tuple[int, int], tuple[int, str]]:
    """For each (level, parameter) not at home: the level it is summed from, and over what."""
    parents = {}
    for index, kept in enumerate(subsets):
        for param, fold in enumerate(fold_of):
            missing = [label for label in fold.labels if label not in kept]
            if missing and set(kept) <= set(fold.labels):
                larger = {*kept, missing[0]}
                parent = tuple(label for label in fold.labels if label in larger)
                parents[index, param] = (subsets.index(parent), missing[0])
    return parents


def _members(
    fold_of: tuple[Fold, ...],
    subsets: list[tuple[str, ...]],
    parents: dict[tuple[int, int], tuple[int, str]],
) -> list[tuple[int, ...]]:
    """Members of every level, ordered so that columns averaged together stand together."""
    members: list[tuple[int, ...]] = []
    for index, kept in enumerate(subsets):
        feeds = {
            param: [
                lower for (lower, p), (level, _) in parents.items() if (level, p) == (index, param)
            ]
            for param in range(len(fold_of))
        }

        def place(
            param: int, index: int = index, feeds: dict[int, list[int]] = feeds
        ) -> tuple[bool, int, int, int]:
            parent = parents.get((index, param), (-1, ""))[0]
            position = members[parent].index(param) if parent >= 0 else -1
            return (not feeds[param], parent, position, param)

        carriers = [p for p, fold in enumerate(fold_of) if set(kept) <= set(fold.labels)]
        members.append(tuple(sorted(carriers, key=place)))
    return members


def _level(
    spec: NetworkSpec,
    fold_of: tuple[Fold, ...],
    subsets: list[tuple[str, ...]],
    parents: dict[tuple[int, int], tuple[int, str]],
    members: list[tuple[int, ...]],
    index: int,
) -> Level:
    kept = subsets[index]
    starts = _starts(fold_of, members[index])
    sources: list[Own | Pooled] = []
    for param, at in zip(members[index], starts, strict=False):
        width = fold_of[param].width
        if (index, param) not in parents:
            sources.append(Own(param, width))
            continue
        parent, label = parents[index, param]
        start = _starts(fold_of, members[parent])[members[parent].index(param)]
        dim = 1 + subsets[parent].index(label)
        source = Pooled(parent, start, start + width, dim, at)
        sources[-1:] = _merge(sources[-1:], source)
    sizes = tuple(spec.sizes[label] for label in kept)
    counts = tuple(prod(fold_of[p].sizes) // prod(sizes) for p in members[index])
    return Level(kept, sizes, members[index], starts[:-1], starts[-1], tuple(sources), counts)


def _starts(fold_of: tuple[Fold, ...], members: tuple[int, ...]) -> tuple[int, ...]:
    """First column of each member, and the number of columns at the end."""
    starts = [0]
    for param in members:
        starts.append(starts[-1] + fold_of[param].width)
    return tuple(starts)


def _merge(last: list[Own | Pooled], source: Pooled) -> list[Own | Pooled]:
    """Joins a source to the one before it where both read adjacent columns over the same axis."""
    for before in last:
        if isinstance(before, Pooled) and (before.parent, before.dim, before.stop) == (
            source.parent,
            source.dim,
            source.start,
        ):
            return [Pooled(before.parent, before.start, source.stop, before.dim, before.at)]
    return [*last, source]
