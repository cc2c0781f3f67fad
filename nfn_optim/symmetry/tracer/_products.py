"""Products of activations: matmul, einsum and attention."""

from __future__ import annotations

from typing import Any

from . import _axes, _layers
from ._context import Context
from ._contract import contract
from ._value import ParameterRef, Value


def matmul(ctx: Context, x: Any, y: Any) -> Value:
    """`x @ y` of matrices, or with a parameter."""
    if (
        isinstance(x, Value)
        and isinstance(y, ParameterRef)
        and len(ctx.parameters.shape(y.name)) == 2
    ):
        return _layers.linear(ctx, x, y, transposed=True)
    x, y = ctx.as_value(x), ctx.as_value(y)
    if x.shape is None and y.shape is not None and len(y.shape) == 2:
        return _layers.linear(ctx, x, y, transposed=True)
    if x.rank == 1 or y.rank == 1 or not all(isinstance(v, Value) for v in (x, y)):
        return ctx.unknown("a product with a vector", x, y)
    return contract(ctx, [(x, "ik"), (y, "kj")], "ij")


def addmm(ctx: Context, bias: Any, x: Any, weight: Any, **_: object) -> Value:
    """`bias + x @ weight`."""
    if isinstance(bias, ParameterRef) and isinstance(weight, ParameterRef):
        return _layers.linear(ctx, ctx.as_value(x), weight, bias, transposed=True)
    return ctx.combine([ctx.as_value(bias), matmul(ctx, x, weight)])


def distances(ctx: Context, x: Any, y: Any, *_: object, **__: object) -> Value:
    """`torch.cdist`, which sums over the last axis."""
    return contract(ctx, [(ctx.as_value(x), "id"), (ctx.as_value(y), "jd")], "ij")


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
