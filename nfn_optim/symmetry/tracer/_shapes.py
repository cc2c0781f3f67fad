"""Rules for operators that merge axes or view them in another shape."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ._context import Context
from ._regroup import merge_axes, rank_of, regroup, split_axis
from ._sizes import size_at, sizes_in
from ._value import Axis, Part, Size, Sizes, Value

_NESTED = (list, tuple, Sizes)


def flatten(ctx: Context, x: Value, start_dim: object = 0, end_dim: object = -1) -> Value:
    """Merges axes; neurons among them become (positions before, neurons, positions after)."""
    start, end = x.locate(start_dim), x.locate(end_dim)
    if not x.axes:
        if x.rank is None or start is None or end is None:
            return Value(source=x.source, lost=x.lost)
        return Value(rank=x.rank - (end - start), source=x.source, lost=x.lost)
    if x.rank is None and (start is None or end is None):
        return _flatten_unknown_rank(ctx, x, start_dim, end_dim)
    if start is None or end is None or start > end:
        return ctx.unknown("flatten", x)
    merged = merge_axes(ctx, x, range(start, end + 1))
    kept = {d: axis for d, axis in x.axes.items() if not start <= d <= end}
    axes = {d if d > end else d + (end - start): axis for d, axis in kept.items()}
    gone = {axis.node for d, axis in x.axes.items() if start <= d <= end}
    if merged is not None:
        axes[end] = merged
        gone -= {merged.node}
    rank = None if x.rank is None else x.rank - (end - start)
    return Value(axes, rank, None, x.source, x.lost | gone)


def unflatten(ctx: Context, x: Value, dim: object, sizes: object) -> Value:
    """One axis split into several."""
    at, given = x.locate(dim), sizes_in(ctx, sizes) or []
    block = [size for size in given if isinstance(size, int)]
    if at is None or not block or len(block) < len(given):
        return ctx.unknown("unflatten", x) if x.axes else Value(source=x.source, lost=x.lost)
    shift = 1 - len(block)
    axes = {d if d > at else d + shift: axis for d, axis in x.axes.items() if d != at}
    if at in x.axes:
        whole = size_at(ctx, x, at)
        known = prod(size for size in block if size != -1)
        if not isinstance(whole, int) or known < 1 or whole % known or block.count(-1) > 1:
            return ctx.unknown("unflatten", x)
        block = [whole // known if size == -1 else size for size in block]
        parts = split_axis(ctx, x.axes[at], block)
        axes |= {at + shift + place: part for place, part in parts.items()}
    rank = None if x.rank is None else x.rank - shift
    return Value(axes, rank, None, x.source, x.lost)


def _flatten_unknown_rank(ctx: Context, x: Value, start: object, end: object) -> Value:
    """All axes but the batch: how many stand before the neurons shows where a layer reads them."""
    if (start, end) != (1, -1) or [a.part for a in x.axes.values()] != [Part.WHOLE]:
        return ctx.unknown("flatten", x)
    [(dim, axis)] = x.axes.items()
    return Value({-1: Axis(axis.node, True, axis.after or dim < -1)}, 2, None, None, x.lost)


def reshape(ctx: Context, x: Value, *sizes: object) -> Value:
    """`view` and `reshape` where neurons stay together; otherwise their order is pinned."""
    dims = sizes_in(ctx, sizes[0] if len(sizes) == 1 and isinstance(sizes[0], _NESTED) else sizes)
    if dims is None:
        return ctx.unknown("view", x)
    if not x.axes:
        ones = frozenset(at - len(dims) for at, size in enumerate(dims) if size == 1)
        return Value(rank=rank_of(dims), source=x.source, lost=x.lost, ones=ones)
    followed = regroup(ctx, x, dims)
    if followed is not None or rank_of(dims) is None:
        return followed or ctx.unknown("view", x)
    return (
        _keep_last(ctx, x, dims)
        or _keep_channels(ctx, x, dims)
        or _flatten_view(ctx, x, dims)
        or Value({}, len(dims), None, None, ctx.unknown("view", x).lost)
    )


def _keep_last(ctx: Context, x: Value, dims: Sequence[object]) -> Value | None:
    """The last axis stays whole if its size does, whatever happens to the axes before it."""
    axis = x.axes.get(-1)
    if axis is None or not axis.is_plain or not dims or not _counts(ctx, dims[-1], axis):
        return None
    x = ctx.without(x, [dim for dim in x.axes if dim != -1], pin=True)
    return Value({-1: axis}, len(dims), None, None, x.lost)


def _keep_channels(ctx: Context, x: Value, dims: Sequence[object]) -> Value | None:
    """`(batch, n, ...)` with other axes behind; neurons may be split there, or put together."""
    named = sorted(x.axes)
    if x.rank is None or not dims or dims[0] != Size(is_batch=True):
        return None
    old = list(range(1 - x.rank, 1 - x.rank + len(named)))
    sizes = [size for dim in old if isinstance(size := size_at(ctx, x, dim), int)]
    new = next((n for n in range(1, len(dims)) if _makes(dims[1 : 1 + n], prod(sizes))), None)
    if named != old or len(sizes) < len(old) or new is None or len(dims) < 1 + new:
        return None
    front, wanted = 1 - len(dims), [size for size in dims[1 : 1 + new] if isinstance(size, int)]
    if sizes == wanted:
        axes = {front + at: x.axes[dim] for at, dim in enumerate(old)}
    elif len(old) == 1:
        parts = split_axis(ctx, x.axes[old[0]], wanted)
        axes = {front + at: part for at, part in parts.items()}
    elif new == 1:
        merged = merge_axes(ctx, x, old)
        axes = {} if merged is None else {front: merged}
    else:
        return None
    return Value(axes, len(dims), None, None, x.lost)


def _makes(sizes: Sequence[object], wanted: int) -> bool:
    """Whether sizes are known to multiply to a number."""
    known = [size for size in sizes if isinstance(size, int)]
    return len(known) == len(sizes) and prod(known) == wanted


def _flatten_view(ctx: Context, x: Value, dims: Sequence[object]) -> Value | None:
    """`(batch, -1)` and `(-1, features)`: everything but the batch becomes one axis.

    That `(-1, features)` keeps the batch is taken for granted, unless there are as many features as
    neurons and the neurons are spread over positions.
    """
    if len(dims) != 2 or len(x.axes) != 1 or not (_is_batch(dims[0]) or dims[0] == -1):
        return None
    [axis] = x.axes.values()
    if axis.part is not Part.WHOLE:
        return None
    size = dims[1]
    whole = size == -1 and dims[0] != -1
    fits = isinstance(size, int) and size > 0 and size % ctx.populations.size(axis.node) == 0
    if not (whole or fits or _counts(ctx, size, axis)):
        return None
    flat = flatten(ctx, x, 1, -1)
    keeps_batch = dims[0] != -1 or flat.axes.get(-1, axis).is_plain
    return flat if keeps_batch or not _counts(ctx, size, axis) else None


def _is_batch(size: object) -> bool:
    return size == -1 or size == Size(is_batch=True)


def _counts(ctx: Context, size: object, axis: Axis) -> bool:
    """Whether a size is certainly the number of these neurons."""
    return axis.is_plain and size == ctx.populations.size(axis.node) and size != 1
