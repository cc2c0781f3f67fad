"""Sums of products of tensors whose axes have names: all products are one of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ._context import Context
from ._meet import meet
from ._value import Value

_Name = str | int  # of an axis in an equation, or how far from those that have names


@dataclass(frozen=True)
class _Operand:
    """A tensor whose last axes have names; those in front of them are counted from the back."""

    value: Value
    names: str

    def name(self, dim: int) -> _Name:
        """What an axis is called."""
        return self.names[dim] if -dim <= len(self.names) else -dim - len(self.names)

    def is_wide(self, name: _Name) -> bool:
        """Whether the tensor may change along an axis."""
        if isinstance(name, int):
            return not self.value.is_one(-name - len(self.names))
        at = self.names.find(name) - len(self.names)
        return name in self.names and not self.value.is_one(at)


def contract(ctx: Context, operands: Sequence[tuple[Value, str]], out: str) -> Value:
    """Sums of products: names that are not in the result are summed over, as in `einsum`."""
    given = [_Operand(ctx.settled(value, decide=True), names) for value, names in operands]
    axes = [{one.name(dim): axis for dim, axis in one.value.axes.items()} for one in given]
    met = meet(ctx.populations, axes, lambda i, name: given[i].is_wide(name))
    ranks = [one.value.rank for one in given]
    known = [rank - len(one.names) for rank, one in zip(ranks, given, strict=True) if rank]
    rank = max(known) + len(out) if len(known) == len(given) else None
    kept = {
        -name - len(out) if isinstance(name, int) else out.index(name) - len(out): axis
        for name, axis in met.items()
        if isinstance(name, int) or name in out
    }
    gone = {axis.node for one in axes for name, axis in one.items() if name not in met}
    summed = [n for n in met if not isinstance(n, int) and n not in out]
    computed = [
        n for n in summed if all(one.value.shape is None for one in given if n in one.names)
    ]
    gone |= {met[n].node for n in computed}  # what a weight reads is not shown
    lost = frozenset(gone).union(*(one.value.lost for one in given))
    return Value(kept, rank, None, None, lost)
