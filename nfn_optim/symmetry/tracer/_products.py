"""Products of activations: matmul, einsum and attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import _axes, _layers
from ._context import Context
from ._meet import meet
from ._value import ParameterRef, Value

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
    gone |= {axis.node for n, axis in met.items() if not isinstance(n, int) and n not in out}
    lost = frozenset(gone).union(*(one.value.lost for one in given))
    return Value(kept, rank, None, None, lost)


def matmul(ctx: Context, x: Any, y: Any) -> Value:
    """`x @ y` of matrices, or with a parameter."""
    if (
        isinstance(x, Value)
        and isinstance(y, ParameterRef)
        and len(ctx.parameters.shape(y.name)) == 2
    ):
        return _layers.linear(ctx, x, y, transposed=True)
    x, y = ctx.as_value(x), ctx.as_value(y)
    if x.rank == 1 or y.rank == 1 or not all(isinstance(v, Value) for v in (x, y)):
        return ctx.unknown("a product with a vector", x, y)
    return contract(ctx, [(x, "ik"), (y, "kj")], "ij")


def einsum(ctx: Context, equation: object, *operands: Any) -> Value:
    """`torch.einsum` with named axes; an ellipsis stands in front."""
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], tuple) else operands
    parts = equation.replace(" ", "").split("->") if isinstance(equation, str) else []
    given = parts[0].split(",") if parts else []
    names = [part.removeprefix("...") for part in given]
    out = parts[1].removeprefix("...") if len(parts) == 2 else ""
    clear = all(name.isalpha() and len(set(name)) == len(name) for name in names)
    if len(parts) != 2 or len(names) != len(tensors) or not clear or "." in out:
        return ctx.unknown("einsum", operands)
    values = [_with_rank(ctx.as_value(t), p) for t, p in zip(tensors, given, strict=True)]
    return contract(ctx, list(zip(values, names, strict=True)), out)


def _with_rank(x: Value, part: str) -> Value:
    """A tensor of which an equation names all axes."""
    rank = x.rank if part.startswith("...") else len(part)
    return Value(x.axes, rank, x.shape, x.source, x.lost, x.ones)


def attention(
    ctx: Context,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Any = None,
    dropout_p: object = 0.0,
    is_causal: object = False,
    scale: object = None,
    enable_gqa: object = False,
) -> Value:
    """`F.scaled_dot_product_attention`."""
    query, key, value = (ctx.as_value(x) for x in (query, key, value))
    if enable_gqa is not False:
        key, value = (_axes.repeat_interleave(ctx, x, 2, -3) for x in (key, value))
    scores = contract(ctx, [(query, "id"), (key, "jd")], "ij")
    if attn_mask is not None:
        scores = ctx.combine([scores, ctx.as_value(attn_mask)])
    return contract(ctx, [(scores, "ij"), (value, "jd")], "id")
