"""Rules for operators that move, add, cut or drop axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ._context import Context
from ._sizes import size_at
from ._value import Axis, Part, Several, Size, Value


def permute(ctx: Context, x: Value, *dims: object) -> Value:
    """Axes in another order."""
    given = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    order = [dim for dim in given if isinstance(dim, int)]
    rank = len(order)
    if rank != len(given):
        return ctx.unknown("permute", x)
    sources = [dim % rank - rank for dim in order]
    axes = {at - rank: x.axes[dim] for at, dim in enumerate(sources) if dim in x.axes}
    ones = frozenset(at - rank for at, dim in enumerate(sources) if x.has_one(dim))
    return Value(axes, rank, None, x.source, x.lost, ones)


def transpose(ctx: Context, x: Value, dim0: object, dim1: object) -> Value:
    """Two axes exchanged."""
    a, b = x.locate(dim0), x.locate(dim1)
    if a is None or b is None:
        return ctx.unknown("transpose", x) if x.axes else x
    swap = {a: b, b: a}
    axes = {swap.get(dim, dim): axis for dim, axis in x.axes.items()}
    ones = frozenset(swap.get(dim, dim) for dim in x.ones)
    shape = x.shape
    if shape is not None and max(-a, -b) <= len(shape):
        shape = tuple(shape[swap.get(dim, dim)] for dim in range(-len(shape), 0))
    return Value(axes, x.rank, shape, x.source, x.lost, ones)


def unsqueeze(ctx: Context, x: Value, dim: object) -> Value:
    """An axis of size one put in."""
    if not isinstance(dim, int) or (dim >= 0 and x.rank is None):
        return ctx.unknown("unsqueeze", x) if x.axes else x
    at = dim if dim < 0 else dim - (x.rank or 0) - 1
    axes = {d if d > at else d - 1: axis for d, axis in x.axes.items()}
    ones = frozenset({at, *(d if d > at else d - 1 for d in x.ones)})
    return Value(axes, None if x.rank is None else x.rank + 1, None, x.source, x.lost, ones)


def squeeze(ctx: Context, x: Value, dim: object = None) -> Value:
    """An axis of size one taken out, taken for granted where the size is unknown."""
    at = x.locate(dim)
    if at is None:
        return ctx.unknown("squeeze", x) if x.axes else Value(source=x.source, lost=x.lost)
    if at in x.axes and ctx.populations.size(x.axes[at].node) > 1:
        return x if isinstance(size_at(ctx, x, at), int) else ctx.unknown("squeeze", x)
    return drop_axes(ctx, x, [at], keepdim=False, pin=False)


def reduce(
    ctx: Context, x: Value, dim: object = None, keepdim: object = False, **_: object
) -> Value:
    """Sums, means, norms: a reduction over neurons does not depend on their order."""
    if dim is None:
        return Value({}, 0, (), None, x.lost | x.nodes)
    if isinstance(dim, bool):
        return ctx.unknown("a reduction", x)
    given = dim if isinstance(dim, (list, tuple)) else [dim]
    if x.rank is None and set(x.axes) == {-1} and all(isinstance(d, int) and d > 0 for d in given):
        return ctx.guess(x)  # over steps
    located = [x.locate(d) for d in given]
    dims = [at for at in located if at is not None]
    if len(dims) < len(located):
        return ctx.unknown("a reduction over an unknown axis", x)
    return drop_axes(ctx, x, dims, keepdim=bool(keepdim), pin=False)


def softmax(ctx: Context, x: Value, dim: object = None, *_: object, **__: object) -> Value:
    """What treats all entries along an axis alike; over heads, neurons in them are told apart."""
    if all(axis.part is Part.WHOLE for axis in x.axes.values()):
        return x
    at = x.locate(dim)
    if at is None:
        ctx.pin(x)
        return x
    return ctx.combine([x, reduce(ctx, x, at, keepdim=True)])


def normalize(
    ctx: Context, x: Value, p: object = 2, dim: object = 1, *_: object, **__: object
) -> Value:
    """`F.normalize`."""
    return softmax(ctx, x, dim)


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


def in_order(ctx: Context, x: Value, *_: object, **__: object) -> Value:
    """The same tensor, as numbers that belong to its neurons are kept elsewhere."""
    ctx.pin(x)
    return x


def drop_axes(ctx: Context, x: Value, dims: Sequence[int], *, keepdim: bool, pin: bool) -> Value:
    """Takes axes out (or leaves them with size one); others keep their neurons."""
    x = ctx.without(x, dims, pin=pin)
    if keepdim:
        return replace(x, ones=x.ones | frozenset(dims))
    axes = {d + sum(gone > d for gone in dims): axis for d, axis in x.axes.items()}
    rank = None if x.rank is None else x.rank - len(dims)
    return Value(axes, rank, None, x.source, x.lost)


def along(ctx: Context, x: Value, dims: object) -> Value:
    """Running sums, reversals: neurons along these axes keep their order."""
    located = [x.locate(dim) for dim in (dims if isinstance(dims, (list, tuple)) else [dims])]
    if None in located:
        return ctx.unknown("what goes along an unknown axis", x) if x.axes else x
    return ctx.without(x, [dim for dim in located if dim is not None], pin=True)


def roll(ctx: Context, x: Value, shifts: object, dims: object = None) -> Value:
    """`torch.roll`."""
    return along(ctx, x, dims)


def cast(ctx: Context, x: Value, *_: object, **__: object) -> Value:
    """`to` and its like: another tensor gives its type at most."""
    return x


def stack(ctx: Context, tensors: object, dim: object = 0) -> Value:
    """Side by side along a new axis."""
    if not isinstance(tensors, (list, tuple)):
        return ctx.unknown("a stack", tensors)
    x = unsqueeze(ctx, ctx.combine([ctx.as_value(tensor) for tensor in tensors]), dim)
    return replace(x, ones=frozenset())


def repeat_interleave(ctx: Context, x: Value, repeats: object, dim: object = None) -> Value:
    """Copies of every entry along an axis, next to each other."""
    at = x.locate(dim)
    if at is None:
        return ctx.unknown("repeat_interleave", x)
    axis = x.axes.get(at)
    if axis is None or not axis.is_plain:
        return ctx.without(x, [at], pin=True)
    return Value({**x.axes, at: Axis(axis.node, after=True)}, x.rank, None, None, x.lost)


def movedim(ctx: Context, x: Value, source: object, destination: object) -> Value:
    """One axis put elsewhere."""
    a, b = x.locate(source), x.locate(destination)
    if a is None or b is None or x.rank is None:
        return ctx.unknown("movedim", x) if x.axes else x
    order = [dim for dim in range(-x.rank, 0) if dim != a]
    order.insert(b + x.rank, a)
    return permute(ctx, x, order)


def as_complex(ctx: Context, x: Value) -> Value:
    """`view_as_complex`: the last axis becomes part of a number."""
    return drop_axes(ctx, x, [-1], keepdim=False, pin=True)


def as_real(ctx: Context, x: Value) -> Value:
    """`view_as_real`: parts of a number become an axis."""
    return replace(unsqueeze(ctx, x, -1), ones=frozenset())


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
    """One entry of `x.shape`: a number where it is known."""
    at = x.locate(dim)
    return Size(is_batch=dim == 0) if at is None else size_at(ctx, x, at)
