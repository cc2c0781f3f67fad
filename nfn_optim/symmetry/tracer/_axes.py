"""Rules for operators that move, add, cut or drop axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ._context import Context
from ._value import NUMBER, Axis, Several, Size, Value


def permute(ctx: Context, x: Value, *dims: object) -> Value:
    """Axes in another order."""
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    order = [dim for dim in given if isinstance(dim, int)]
    rank = len(order)
    if rank != len(given):
        return ctx.unknown("permute", x)
    sources = [dim % rank - rank for dim in order]
    axes = {at - rank: x.axes[dim] for at, dim in enumerate(sources) if dim in x.axes}
    return Value(axes, rank, None, x.source, x.lost)


def transpose(ctx: Context, x: Value, dim0: object, dim1: object) -> Value:
    """Two axes exchanged."""
    a, b = x.locate(dim0), x.locate(dim1)
    if a is None or b is None:
        return ctx.unknown("transpose", x) if x.axes else x
    swap = {a: b, b: a}
    axes = {swap.get(dim, dim): axis for dim, axis in x.axes.items()}
    return Value(axes, x.rank, None, x.source, x.lost)


def unsqueeze(ctx: Context, x: Value, dim: object) -> Value:
    """An axis of size one put in."""
    if not isinstance(dim, int) or (dim >= 0 and x.rank is None):
        return ctx.unknown("unsqueeze", x) if x.axes else x
    at = dim if dim < 0 else dim - (x.rank or 0) - 1
    axes = {d if d > at else d - 1: axis for d, axis in x.axes.items()}
    return Value(axes, None if x.rank is None else x.rank + 1, None, x.source, x.lost)


def squeeze(ctx: Context, x: Value, dim: object = None) -> Value:
    """An axis of size one taken out, taken for granted where the size is unknown."""
    at = x.locate(dim)
    if at is None:
        return ctx.unknown("squeeze", x) if x.axes else Value(source=x.source, lost=x.lost)
    if at in x.axes and ctx.populations.size(x.axes[at].node) > 1:
        return x if x.axes[at].is_plain else ctx.unknown("squeeze", x)
    return drop_axes(ctx, x, [at], keepdim=False, pin=False)


def reduce(
    ctx: Context, x: Value, dim: object = None, keepdim: object = False, **_: object
) -> Value:
    """Sums, means, norms: a reduction over neurons does not depend on their order."""
    if dim is None:
        return Value({}, 0, (), None, x.lost | x.nodes)
    if isinstance(dim, bool):
        return ctx.unknown("a reduction", x)
    located = [x.locate(d) for d in (dim if isinstance(dim, (list, tuple)) else [dim])]
    dims = [at for at in located if at is not None]
    if len(dims) < len(located):
        return ctx.unknown("a reduction over an unknown axis", x)
    return drop_axes(ctx, x, dims, keepdim=bool(keepdim), pin=False)


def reduce_with_indices(ctx: Context, x: Value, *args: object, **kwargs: object) -> object:
    """`max(dim)` and its like: values with indices, which follow the neurons' order."""
    if not args and not kwargs:
        return reduce(ctx, x)
    if args and isinstance(args[0], Value):
        return ctx.combine([x, args[0]])
    dim, keepdim = (*args, kwargs.get("dim"), kwargs.get("keepdim", False))[:2]
    at = x.locate(dim)
    if at is None:
        return Several(ctx.unknown("a reduction over an unknown axis", x))
    return Several(drop_axes(ctx, x, [at], keepdim=keepdim is True, pin=True))


def drop_axes(ctx: Context, x: Value, dims: Sequence[int], *, keepdim: bool, pin: bool) -> Value:
    """Takes axes out (or leaves them with size one); others keep their neurons."""
    x = ctx.without(x, dims, pin=pin)
    if keepdim:
        return replace(x, ones=x.ones | frozenset(dims))
    axes = {d + sum(gone > d for gone in dims): axis for d, axis in x.axes.items()}
    rank = None if x.rank is None else x.rank - len(dims)
    return Value(axes, rank, None, x.source, x.lost)


def split(ctx: Context, x: Value, _: object, dim: object = 0) -> Several:
    """`chunk` and `split`: neurons along the axis that is cut keep their order."""
    at = x.locate(dim)
    if at is None:
        return Several(ctx.unknown("a split of an unknown axis", x) if x.axes else x)
    return Several(ctx.without(x, [at], pin=True))


def unbind(ctx: Context, x: Value, dim: object = 0) -> Several:
    """Slices along one axis."""
    at = x.locate(dim)
    if at is None:
        return Several(ctx.unknown("unbind", x))
    return Several(drop_axes(ctx, x, [at], keepdim=False, pin=True))


def concatenate(ctx: Context, tensors: object, dim: object = 0) -> Value:
    """Side by side along one axis, which becomes a population of its own whose order is pinned."""
    if not isinstance(tensors, (list, tuple)):
        return ctx.unknown("a concatenation", tensors)
    values = [ctx.as_value(tensor) for tensor in tensors]
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


def expand(ctx: Context, x: Value, *sizes: object) -> Value:
    """Broadcasts to a shape; axes over neurons are whole already."""
    dims = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)) else sizes
    if not isinstance(dims, (list, tuple)):
        return ctx.unknown("expand", x)
    single = [d for d, axis in x.axes.items() if ctx.populations.size(axis.node) == 1]
    x = ctx.without(x, single, pin=False)
    return Value(x.axes, len(dims), None, None, x.lost)


def repeat(ctx: Context, x: Value, *times: object) -> Value:
    """Copies along axes; neurons that are copied keep their order."""
    dims = times[0] if len(times) == 1 and isinstance(times[0], (list, tuple)) else times
    if not isinstance(dims, (list, tuple)):
        return ctx.unknown("repeat", x)
    moved = [d for d in x.axes if -d > len(dims) or dims[d] != 1]
    kept = ctx.without(x, moved, pin=True)
    return Value(kept.axes, len(dims), None, None, kept.lost)


def size_of(ctx: Context, x: Value, dim: object) -> object:
    """One entry of `x.shape`."""
    at = x.locate(dim)
    if at is not None and at in x.axes:
        return Size(axis=x.axes[at])
    first = dim == 0 or (x.rank is not None and at == -x.rank)
    return Size(is_batch=first)


def index(ctx: Context, x: Value, key: object) -> Value:
    """`x[key]` with integers, slices, None and an ellipsis."""
    keys = list(key) if isinstance(key, tuple) else [key]
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
        return ctx.unknown("indexing the front of a tensor of unknown rank", x)
    rank = x.rank if x.rank is not None else taken
    middle = [slice(None)] * (rank - taken)
    return _index(ctx, x, [*keys[:split_at], *middle, *behind])


def _index(ctx: Context, x: Value, keys: Sequence[object]) -> Value:
    """One key an axis, with None between them; axes in front of an unknown rank stay."""
    axes, lost = {}, x.lost
    at, source = 0, 0  # axes of the result and of `x` met so far, from the back
    for key in reversed(keys):
        at -= key is None or isinstance(key, slice)
        source -= key is not None
        if key is None or source not in x.axes:
            continue
        if key == slice(None):
            axes[at] = x.axes[source]
        else:
            ctx.populations.pin([x.axes[source].node])
            lost = lost | {x.axes[source].node}
    for dim, axis in x.axes.items():
        if dim < source:
            axes[dim - source + at] = axis
    rank = None if x.rank is None else x.rank + source - at
    return Value(axes, rank, None, x.source, lost)
