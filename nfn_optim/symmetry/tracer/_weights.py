"""Rules for weights that are computed: from parameters (norms, masks, products) or activations.

Such a weight is a tensor whose axes run over populations, like any other. What it maps is joined
with them, so that it counts as the parameters that it is made of.
"""

from __future__ import annotations

from dataclasses import replace

from ._context import Context
from ._contract import contract
from ._value import Axis, Value


def linear(ctx: Context, x: Value, weight: Value, bias: object, *, transposed: bool) -> Value:
    """`x @ weight.T + bias`; `transposed`: `x @ weight`."""
    names = "io" if transposed else "oi"
    ctx.populations.mark_side(axis.node for axis in weight.axes.values())
    read = weight.axes.get(-2 if transposed else -1)
    if read is not None and read.is_plain:
        [(node, _), *_others] = ctx.read_axis(x, -1, ctx.populations.size(read.node))
        if -1 not in x.axes:
            x = replace(x, axes={**x.axes, -1: read if node is None else Axis(node)})
    result = contract(ctx, [(x, "i"), (weight, names)], "o")
    return result if bias is None else ctx.combine([result, ctx.as_value(bias)])


def convolution(
    ctx: Context, x: Value, weight: Value, bias: object, *, groups: object, transposed: bool
) -> Value:
    """A convolution; channels in groups keep their order."""
    if weight.rank is None or weight.rank < 3 or not isinstance(groups, int):
        return ctx.unknown("a convolution of unknown shape", x, weight, bias)
    first, second, dim = -weight.rank, 1 - weight.rank, 1 - weight.rank
    if groups > 1:
        ctx.pin([x, weight, () if bias is None else ctx.as_value(bias)])
        return Value(rank=weight.rank, lost=x.nodes | x.lost)
    ctx.pin([_only(x, x.axes.keys() - {dim}), _only(weight, weight.axes.keys() - {first, second})])
    channels = Value({-1: x.axes[dim]} if dim in x.axes else {}, 1, None, x.source, x.lost)
    matrix = {
        axis - second - 1: weight.axes[axis] for axis in (first, second) if axis in weight.axes
    }
    mapped = linear(ctx, channels, Value(matrix, 2), bias, transposed=transposed)
    axes = {dim: mapped.axes[-1]} if -1 in mapped.axes else {}
    return Value(axes, weight.rank, None, None, mapped.lost)


def _only(x: Value, dims: set[int]) -> Value:
    axes: dict[int, Axis] = {dim: x.axes[dim] for dim in dims}
    return Value(axes)
