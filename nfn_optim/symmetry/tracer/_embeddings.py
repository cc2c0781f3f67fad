"""Rules for tables that are looked up by row: a row an index, along neurons."""

from __future__ import annotations

from ._context import Context
from ._value import Axis, ParameterRef, Value


def lookup(ctx: Context, index: object, weight: object, *_: object, **__: object) -> Value:
    """`F.embedding`, and `weight[index]`: what is looked up has one axis more than the indices."""
    index = ctx.as_value(index)
    out = rows_of(ctx, weight)
    if out is None:
        return ctx.unknown("a lookup in a computed table", index, weight)
    ctx.pin(index)
    lost = index.lost | index.nodes
    return Value({-1: out}, None if index.rank is None else index.rank + 1, None, None, lost)


def bag(ctx: Context, index: object, weight: object, *others: object, **__: object) -> Value:
    """`F.embedding_bag`: the mean, sum or maximum of several rows."""
    ctx.pin(others)
    looked_up = lookup(ctx, index, weight)
    return Value(looked_up.axes, 2, None, None, looked_up.lost)


def rows_of(ctx: Context, weight: object) -> Axis | None:
    """The neurons that the rows of a table run over; what they are rows of is given from outside.

    None for what is no matrix.
    """
    if not isinstance(weight, ParameterRef) or len(ctx.parameters.shape(weight.name)) != 2:
        return None
    count, width = ctx.parameters.shape(weight.name)
    rows = ctx.populations.new(f"{weight.owner}.in", count, is_input=True)
    out = ctx.populations.new(weight.owner, width)
    axes = [(rows, count), (out, width)]
    ctx.parameters.claim(weight.name, axes, [out, rows], is_table=True)
    return Axis(out)
