"""Rules for tables that are looked up by row: a row an index, along neurons."""

from __future__ import annotations

from collections.abc import Mapping

from ._context import Context
from ._value import Axis, ParameterRef, Value


def lookup(ctx: Context, index: object, weight: object, *_: object, **__: object) -> Value:
    """`F.embedding`, and `weight[index]`: the axes of the indices, and those of a row behind."""
    index = ctx.as_value(index)
    if not isinstance(weight, ParameterRef) or len(ctx.parameters.shape(weight.name)) not in (1, 2):
        return ctx.unknown("a lookup in a computed table", index, weight)
    row = _claim_rows(ctx, weight)
    ctx.pin(index)
    rank = None if index.rank is None else index.rank + len(row)
    return Value(row, rank, None, None, index.lost | index.nodes)


def bag(ctx: Context, index: object, weight: object, *others: object, **__: object) -> Value:
    """`F.embedding_bag`: the mean, sum or maximum of several rows."""
    ctx.pin(others)
    looked_up = lookup(ctx, index, weight)
    return Value(looked_up.axes, 2, None, None, looked_up.lost)


def _claim_rows(ctx: Context, weight: ParameterRef) -> Mapping[int, Axis]:
    """What a row of a table runs over; what there is a row of is given from outside."""
    count, *width = ctx.parameters.shape(weight.name)
    rows = ctx.populations.new(f"{weight.owner}.in", count, is_input=True)
    if not width:
        ctx.parameters.claim(weight.name, [(rows, count)], [rows])
        return {}
    out = ctx.populations.new(weight.owner, width[0])
    axes = [(rows, count), (out, width[0])]
    ctx.parameters.claim(weight.name, axes, [out, rows], is_table=True)
    return {-1: Axis(out)}
