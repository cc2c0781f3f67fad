"""Means and sums over what belongs together, in many networks at once, and their adjoints.

A *link* joins the rows of one table to those of another: entries to the outputs that they stand
in, parameters to their network. Tables are matrices `(rows, c)` with a few sections, such as
weights and vectors. Every section has the rows of all networks, one behind the other, so that the
link of many networks is those of each, moved to where its rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SUM = 0  # as torch.embedding_bag calls it


@dataclass(frozen=True, eq=False)
class Half:
    """What the rows of one section of one network are joined to.

    Attributes:
        rows: Rows of the other table, counted in their network and section; those of each own row
            together.
        kinds: The section of each; of a shape that broadcasts to that of `rows`.
        counts: How many each own row has.
    """

    rows: np.ndarray
    kinds: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, kinds: np.ndarray, counts: np.ndarray) -> Half:
        """With sections said once where they repeat."""
        rows = rows.astype(np.int32)
        kinds = np.broadcast_to(kinds, rows.shape).ravel()
        each = int(counts[0]) if len(counts) and (counts == counts[0]).all() else 0
        if (kinds == kinds[:1]).all():
            return cls(rows.ravel(), kinds[:1] if len(kinds) else np.zeros(1, dtype=int), counts)
        table = kinds.reshape(-1, each or 1)
        if each and (table == table[:1]).all():
            return cls(rows.reshape(-1, each), table[:1], counts)
        return cls(rows.ravel(), kinds, counts)


Halves = tuple[Half, ...]  # for each section of a table


@dataclass(frozen=True, eq=False)
class Link:
    """How two tables of one network are joined.

    Attributes:
        there: Sources of each target.
        back: Targets of each source.
    """

    there: Halves
    back: Halves

    @classmethod
    def of_targets(cls, back: Sequence[Half], sizes: Sequence[int]) -> Link:
        """From the targets of each source; `sizes` are those of the sections of targets."""
        return cls(_transposed(back, sizes), tuple(back))


def _transposed(halves: Sequence[Half], sizes: Sequence[int]) -> Halves:
    """The other direction, for sections of the sizes given."""
    joined = [np.broadcast_to(half.kinds, half.rows.shape).ravel() for half in halves]
    kinds, rows = np.concatenate(joined), np.concatenate([half.rows.ravel() for half in halves])
    own = np.concatenate([np.repeat(np.arange(len(h.counts)), h.counts) for h in halves])
    section = np.repeat(np.arange(len(halves)), [half.rows.size for half in halves])
    found = []
    for kind, size in enumerate(sizes):
        here = np.flatnonzero(kinds == kind)
        here = here[np.argsort(rows[here], kind="stable")]
        counts = np.bincount(rows[here], minlength=size)
        found.append(Half.of(own[here], section[here], counts))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Bags:
    """Which rows of a table are summed to each row of another.

    Attributes:
        rows: Of the one, by row of the other.
        ends: Where each row's begin, and where the last ones end.
    """

    rows: Tensor
    ends: Tensor

    @classmethod
    def join(cls, halves: Sequence[Halves], others: Sequence[Halves]) -> Bags:
        """Of many networks, from each one's halves and those of the other direction."""
        sizes = np.array([[len(half.counts) for half in network] for network in others])
        flat = sizes.T.ravel()  # all networks of one section, then of the next
        starts = (flat.cumsum() - flat).astype(np.int32).reshape(sizes.shape[::-1]).T
        rows, counts = [], []
        for section in zip(*halves, strict=True):
            for half, first in zip(section, starts, strict=True):
                rows.append((half.rows + first[half.kinds]).ravel())
                counts.append(half.counts)
        ends = np.concatenate([[0], *counts]).cumsum()
        return cls(_indices(np.concatenate(rows)), _indices(ends))

    @cached_property
    def shares(self) -> Tensor:
        """What a row counts in a mean, `(n, 1)`."""
        return self.ends.diff().clamp(min=1).double().reciprocal().unsqueeze(1)

    def to(self, device: torch.device) -> Bags:
        """The same on a device."""
        return Bags(self.rows.to(device), self.ends.to(device))

    def __call__(self, table: Tensor) -> Tensor:
        """The sums, `(n, c)`; zeros where there is nothing to sum."""
        found: Tensor = torch.embedding_bag(
            table.detach().contiguous(), self.rows, self.ends, False, _SUM, False, None, True
        )[0]
        return found


@dataclass(frozen=True, eq=False)
class Links:
    """Which rows of a source table belong to each row of a target table, and the other way.

    Attributes:
        there: Sources of each target.
        back: Targets of each source.
    """

    there: Bags
    back: Bags

    @classmethod
    def join(cls, networks: Sequence[Link]) -> Links:
        """Those of many networks."""
        there, back = [link.there for link in networks], [link.back for link in networks]
        return cls(Bags.join(there, back), Bags.join(back, there))

    @property
    def reversed(self) -> Links:
        """From target to source."""
        return Links(self.back, self.there)

    def to(self, device: torch.device) -> Links:
        """The same on a device."""
        return Links(self.there.to(device), self.back.to(device))

    def sum(self, source: Tensor) -> Tensor:
        """Sums of a source table `(s, c)` for each target, `(t, c)`."""
        summed: Tensor = _Sum.apply(source, self)
        return summed

    def mean(self, source: Tensor) -> Tensor:
        """Means of a source table; zeros where there is nothing to average."""
        averaged: Tensor = _Mean.apply(source, self, self.there.shares.to(source.dtype))
        return averaged

    def spread(self, target: Tensor) -> Tensor:
        """What each source has at its targets `(t, c)`, added up: `(s, c)`."""
        return self.reversed.sum(target)


class _Sum(torch.autograd.Function):
    """Sums over links; the gradient is a sum over the links the other way."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, links: Links) -> Tensor:
        ctx.links = links
        return links.there(source)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.links.spread(grads[0]), None


class _Mean(torch.autograd.Function):
    """Sums over links, times what a row counts in each."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, links: Links, shares: Tensor) -> Tensor:
        ctx.links, ctx.shares = links, shares
        return links.there(source).mul_(shares)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.links.spread(grads[0] * ctx.shares), None, None


def _indices(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int32, copy=False))
