"""Which place every parameter has in the network, and why: as data and as a table."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ..symmetry import NetworkSpec, Shape, without_wrappers

_MOST_NAMED = 3  # modules in a warning


@dataclass(frozen=True)
class Row:
    """One parameter of the table.

    Attributes:
        name: The parameter's.
        shape: As it is stored.
        is_placed: Whether it is known which neurons it shares with other parameters; else it is
            read alone.
        why: What it runs over, or why that is not known.
    """

    name: str
    shape: Shape
    is_placed: bool
    why: str


@dataclass(frozen=True)
class Coverage:
    """What `NFNOptimizer.coverage()` returns; printed, it is a table.

    Attributes:
        rows: One for each parameter of the optimizer.
        spec: The symmetry of those that have a place; None where there are none.
    """

    rows: tuple[Row, ...]
    spec: NetworkSpec | None

    @property
    def share(self) -> float:
        """Share of all entries that are read in their place in the network."""
        return placed_share(self.rows)

    def __str__(self) -> str:
        head = ("parameter", "shape", "is read", "runs over")
        cells = [
            (row.name, str(row.shape), "in place" if row.is_placed else "alone", row.why)
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in (head, *cells)) for i in range(3)]
        lines = [
            "  ".join((*(c.ljust(w) for c, w in zip(line[:3], widths, strict=True)), line[3]))
            for line in (head, *cells)
        ]
        placed = sum(row.is_placed for row in self.rows)
        total = sum(prod(row.shape) for row in self.rows)
        lines.append(
            f"{placed} of {len(self.rows)} parameters, {self.share:.1%} of {total} entries, are "
            "read in their place in the network; the others alone."
        )
        return "\n".join(lines)

    __repr__ = __str__


def placed_share(rows: Sequence[Row]) -> float:
    """Share of the entries of these parameters that are read in their place; 0 where none are."""
    sizes = [(prod(row.shape), row.is_placed) for row in rows]
    total = sum(size for size, _ in sizes)
    return sum(size for size, is_placed in sizes if is_placed) / total if total else 0.0


def warn_mostly_alone(rows: Sequence[Row]) -> None:
    """Warns where more than half of all entries are read alone, with the modules that hold them."""
    alone = Counter[str]()
    for row in rows:
        if not row.is_placed:
            name = without_wrappers(row.name)
            alone[name.rpartition(".")[0] or name] += prod(row.shape)
    if 2 * alone.total() <= sum(prod(row.shape) for row in rows):
        return
    named = ", ".join(repr(name) for name, _ in alone.most_common(_MOST_NAMED))
    more = f" and {len(alone) - _MOST_NAMED} more" if len(alone) > _MOST_NAMED else ""
    warnings.warn(
        f"NFNOptimizer reads {placed_share(rows):.0%} of the entries that are trained in their "
        f"place in the network. It reads alone what is in {named}{more}: the same rule moves it in "
        "the same direction, but knows nothing of the layers around it. optimizer.coverage() says "
        "why; spec=NetworkSpec(...) describes it by hand.",
        stacklevel=3,
    )
