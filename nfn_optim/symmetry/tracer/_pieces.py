"""Rules for operators that cut tensors into pieces, or put pieces together."""

from __future__ import annotations

from collections.abc import Sequence

from . import _axes
from ._context import Context
from ._populations import Node
from ._sizes import size_at
from ._value import NUMBER, Axis, Part, Several, Value


def split(ctx: Context, x: Value, sizes: object, dim: object = 0) -> Several:
    """`split`: equal pieces are maps side by side; otherwise neurons keep their order."""
    at = x.locate(dim)
    if at is None:
        return Several(ctx.unknown("a split of an unknown axis", x) if x.axes else x)
    whole = size_at(ctx, x, at)
    each = sizes[0] if isinstance(sizes, tuple) and len(set(sizes)) == 1 else sizes
    if isinstance(whole, int) and isinstance(each, int) and 0 < each < whole and whole % each == 0:
        return Several(_piece(ctx, x, at, whole // each))
    return Several(ctx.without(x, [at], pin=True))


def chunk(ctx: Context, x: Value, chunks: object, dim: object = 0) -> Several:
    """`chunk`: equal pieces are maps side by side."""
    at = x.locate(dim)
    if at is None:
        return Several(ctx.unknown("a chunk of an unknown axis", x) if x.axes else x)
    whole = size_at(ctx, x, at)
    if isinstance(whole, int) and isinstance(chunks, int) and chunks > 1 and whole % chunks == 0:
        return Several(_piece(ctx, x, at, chunks))
    return Several(ctx.without(x, [at], pin=True))


def _piece(ctx: Context, x: Value, at: int, count: int) -> Value:
    """One of some equal pieces along an axis."""
    axis = x.axes.get(at)
    if axis is None or not axis.is_plain:
        taken = axis is not None and axis.part is Part.OUTER
        whole = taken and axis is not None and count == ctx.populations.num_groups(axis.node)
        return _of_one_group(ctx, x, at) if whole else ctx.without(x, [at], pin=True)
    each = None if ctx.populations.size(axis.node) == count else _each(ctx, axis, count)
    if each is None:
        return ctx.without(x, [at], pin=True)
    return Value({**x.axes, at: Axis(each)}, x.rank, None, None, x.lost)


def _each(ctx: Context, axis: Axis, count: int) -> Node | None:
    return None if ctx.populations.are_heads(axis.node) else ctx.populations.each(axis.node, count)


def _of_one_group(ctx: Context, x: Value, at: int) -> Value:
    """A tensor of which one group is taken along an axis, so that groups are maps side by side."""
    axis = x.axes[at]
    if ctx.populations.each(axis.node, ctx.populations.num_groups(axis.node)) is None:
        return ctx.without(x, [at], pin=True)
    return ctx.settled(x, decide=False)


def unbind(ctx: Context, x: Value, dim: object = 0) -> Several:
    """Slices along one axis."""
    at = x.locate(dim)
    if at is None:
        return Several(ctx.unknown("unbind", x))
    if at in x.axes and x.axes[at].part is Part.OUTER:
        x = _of_one_group(ctx, x, at)
    return Several(_axes.drop_axes(ctx, x, [at], keepdim=False, pin=True))


def concatenate(ctx: Context, tensors: object, dim: object = 0) -> Value:
    """Side by side along one axis, which becomes a population of its own whose order is pinned."""
    if not isinstance(tensors, (list, tuple)):
        return ctx.unknown("a concatenation", tensors)
    given = [ctx.as_value(tensor) for tensor in tensors]
    values = [value for value in given if value.shape != (0,)]  # what a cache starts with
    rank = next((value.rank for value in values if value.rank is not None), None)
    at = Value(rank=rank).locate(dim)
    if at is None:
        return ctx.unknown("a concatenation along an unknown axis", values)
    parts = [value.axes.get(at) for value in values]
    whole = ctx.combine([ctx.without(value, [at], pin=True) for value in values])
    if not all(part is not None and part.is_plain for part in parts):
        return Value(whole.axes, rank, None, None, whole.lost)
    size = sum(ctx.populations.size(part.node) for part in parts if part is not None)
    node = ctx.populations.new(f"{ctx.layer or 'cat'}", size, pinned=True)
    return Value({**whole.axes, at: Axis(node)}, rank, None, None, whole.lost)


def _is_one_step(keys: Sequence[object]) -> bool:
    """Whether these choose one step of a sequence: `x[:, -1]` or `x[:, 0, :]`."""
    first, *others = keys
    whole = [key for key in others if key == slice(None)]
    numbers = [key for key in others if isinstance(key, int) and not isinstance(key, bool)]
    return first == slice(None) and len(numbers) == 1 and len(numbers) + len(whole) == len(others)


def index(ctx: Context, x: Value, key: object) -> Value:
    """`x[key]` with integers, slices, None and an ellipsis."""
    keys = list(key) if isinstance(key, tuple) else [key]
    chosen = [isinstance(k, tuple) for k in keys]
    if chosen.count(True) == 1:  # some entries along one axis, in some order
        keys = [slice(0) if isinstance(k, tuple) else k for k in keys]
    if not all(k is None or k is Ellipsis or isinstance(k, (int, slice, Value)) for k in keys):
        return ctx.unknown("indexing", x, keys)
    if any(isinstance(k, Value) and k != NUMBER for k in keys):
        return ctx.unknown("indexing with a tensor", x, keys)
    taken = sum(k is not None and k is not Ellipsis for k in keys)
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    split_at = keys.index(Ellipsis)
    behind = keys[split_at + 1 :]
    if x.axes and x.rank is None and any(k is not Ellipsis for k in keys[:split_at]):
        if set(x.axes) == {-1} and not behind and _is_one_step(keys[:split_at]):
            return ctx.guess(x)
        return ctx.unknown("indexing the front of a tensor of unknown rank", x)
    rank = x.rank if x.rank is not None else taken
    middle = [slice(None)] * (rank - taken)
    every = [*keys[:split_at], *middle, *behind]
    along = [k for k in every if k is not None]
    for dim, axis in x.axes.items():
        one = -dim <= len(along) and isinstance(along[dim], int)
        if one and axis.part is Part.OUTER:
            x = _of_one_group(ctx, x, dim)
    return _index(ctx, x, every)


def _index(ctx: Context, x: Value, keys: Sequence[object]) -> Value:
    """One key an axis, with None between them; axes in front of an unknown rank stay."""
    axes, lost, ones = {}, x.lost, set()
    at, source = 0, 0  # axes of the result and of `x` met so far, from the back
    for key in reversed(keys):
        at -= key is None or isinstance(key, slice)
        source -= key is not None
        if key is None or (key == slice(None) and x.has_one(source)):
            ones.add(at)
        elif key == slice(None) and source in x.axes:
            axes[at] = x.axes[source]
        elif source in x.axes:
            ctx.hold(x.axes[source])
            lost = lost | {x.axes[source].node}
    for dim, axis in x.axes.items():
        if dim < source:
            axes[dim - source + at] = axis
    rank = None if x.rank is None else x.rank + source - at
    return Value(axes, rank, None, x.source, lost, frozenset(ones))
