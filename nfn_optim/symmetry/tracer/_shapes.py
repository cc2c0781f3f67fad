"""Rules for operators that merge axes or view them in another shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ._context import Context
from ._value import Axis, Size, Value


def flatten(ctx: Context, x: Value, start_dim: object = 0, end_dim: object = -1) -> Value:
    """Merges axes; neurons among them become (positions before, neurons, positions after)."""
    start, end = x.locate(start_dim), x.locate(end_dim)
    if not x.axes:
        return Value(source=x.source, lost=x.lost)
    rank = x.rank
    if rank is None:
        return _flatten_unknown_rank(ctx, x, start_dim, end_dim)
    if start is None or end is None:
        return ctx.unknown("flatten", x)
    merged = [dim for dim in x.axes if start <= dim <= end]
    if len(merged) > 1:
        free = [dim for dim in merged if not ctx.populations.is_ordered(x.axes[dim].node)]
        merged, pinned = (free, set(merged) - set(free)) if len(free) == 1 else ([], merged)
        x = ctx.without(x, pinned, pin=True)
    axes = {}
    for dim, axis in x.axes.items():
        if dim in merged:
            before = axis.before or _is_wide(x, range(start, dim))
            after = axis.after or _is_wide(x, range(dim + 1, end + 1))
            axes[end] = Axis(axis.node, before, after)
        else:
            axes[dim if dim > end else dim + (end - start)] = axis
    return Value(axes, rank - (end - start), None, x.source, x.lost)


def _is_wide(x: Value, dims: Iterable[int]) -> bool:
    return any(dim not in x.ones for dim in dims)


def _flatten_unknown_rank(ctx: Context, x: Value, start: object, end: object) -> Value:
    """All axes but the batch: how many stand before the neurons shows where a layer reads them."""
    if (start, end) != (1, -1) or len(x.axes) != 1:
        return ctx.unknown("flatten", x)
    [(dim, axis)] = x.axes.items()
    return Value({-1: Axis(axis.node, True, axis.after or dim < -1)}, 2, None, None, x.lost)


def reshape(ctx: Context, x: Value, *sizes: object) -> Value:
    """`view` and `reshape` where neurons stay together; otherwise their order is pinned."""
    dims = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)) else sizes
    if not isinstance(dims, (list, tuple)):
        return ctx.unknown("view", x)
    if not x.axes:
        return Value(rank=len(dims), source=x.source, lost=x.lost)
    return (
        _spread_vector(ctx, x, dims)
        or _keep_last(ctx, x, dims)
        or _keep_channels(ctx, x, dims)
        or _flatten_view(ctx, x, dims)
        or Value({}, len(dims), None, None, ctx.unknown("view", x).lost)
    )


def _spread_vector(ctx: Context, x: Value, dims: Sequence[object]) -> Value | None:
    """`(n,)` as `(1, n, 1, 1)`, and `(batch, n)` as `(batch, n, 1, 1)`."""
    axis = x.axes.get(-1)
    wide = [dim for dim, size in enumerate(dims) if size != 1]
    if axis is None or len(x.axes) > 1 or not wide or x.rank not in (1, 2):
        return None
    at, *rest = wide[-1:] + wide[:-1]
    if len(wide) != x.rank or (rest and not _is_batch(dims[rest[0]])):
        return None
    if dims[at] != -1 and not _counts(ctx, dims[at], axis):
        return None
    return Value({at - len(dims): axis}, len(dims), None, None, x.lost)


def _keep_last(ctx: Context, x: Value, dims: Sequence[object]) -> Value | None:
    """The last axis stays whole if its size does, whatever happens to the axes before it."""
    axis = x.axes.get(-1)
    if axis is None or not axis.is_plain or not dims or not _counts(ctx, dims[-1], axis):
        return None
    x = ctx.without(x, [dim for dim in x.axes if dim != -1], pin=True)
    return Value({-1: axis}, len(dims), None, None, x.lost)


def _keep_channels(ctx: Context, x: Value, dims: Sequence[object]) -> Value | None:
    """`(batch, n, ...)` as `(batch, n, ...)` with other axes behind."""
    if x.rank is None or len(dims) < 3 or not isinstance(dims[0], Size) or not _is_batch(dims[0]):
        return None
    axis = x.axes.get(1 - x.rank)
    if axis is None or not axis.is_plain or len(x.axes) > 1 or not _counts(ctx, dims[1], axis):
        return None
    return Value({1 - len(dims): axis}, len(dims), None, None, x.lost)


def _flatten_view(ctx: Context, x: Value, dims: Sequence[object]) -> Value | None:
    """`(batch, -1)` and `(-1, features)`: everything but the batch becomes one axis.

    That `(-1, features)` keeps the batch is taken for granted, unless there are as many features as
    neurons and the neurons are spread over positions.
    """
    if len(dims) != 2 or len(x.axes) != 1 or not (_is_batch(dims[0]) or dims[0] == -1):
        return None
    [axis] = x.axes.values()
    size = dims[1]
    whole = size == -1 and dims[0] != -1
    fits = isinstance(size, int) and size > 0 and size % ctx.populations.size(axis.node) == 0
    if not (whole or fits or _counts(ctx, size, axis)):
        return None
    flat = flatten(ctx, x, 1, -1)
    keeps_batch = dims[0] != -1 or flat.axes.get(-1, axis).is_plain
    return flat if keeps_batch or not _counts(ctx, size, axis) else None


def _is_batch(size: object) -> bool:
    return size == -1 or (isinstance(size, Size) and size.is_batch)


def _counts(ctx: Context, size: object, axis: Axis) -> bool:
    """Whether a size is certainly the number of these neurons."""
    if isinstance(size, Size):
        same = size.axis is not None and size.axis.is_plain
        size = ctx.populations.size(size.axis.node) if same and size.axis else None
    return size == ctx.populations.size(axis.node) and size != 1
