"""Rules for pooling, padding and interpolation."""

from __future__ import annotations

from ._context import Context
from ._value import Value


def spatial(ctx: Context, x: Value, dims: int, to: object = None) -> Value:
    """Pooling along the last axes, which stay as many; `to` is their size afterwards if given."""
    rank = x.rank if x.rank is not None else (dims + 2 if -dims - 1 in x.axes else None)
    pooled = range(-dims, 0)
    x = ctx.without(x, pooled, pin=True)
    ones = frozenset(pooled if to == 1 or to == (1,) * dims else ())
    return Value(x.axes, rank, None, x.source, x.lost, ones)


def pool(
    ctx: Context, x: Value, *_: object, dims: int, return_indices: bool = False, **__: object
) -> Value:
    """`F.max_pool2d` and its like."""
    return ctx.unknown("pooling with indices", x) if return_indices else spatial(ctx, x, dims)


def adaptive_pool(
    ctx: Context, x: Value, output_size: object, return_indices: bool = False, *, dims: int
) -> Value:
    """`F.adaptive_avg_pool2d` and its like."""
    if return_indices:
        return ctx.unknown("pooling with indices", x)
    return spatial(ctx, x, dims, output_size)


def channelwise(ctx: Context, x: Value, *_: object, **__: object) -> Value:
    """What acts on all axes behind axis 1: interpolation."""
    if x.axes and x.rank is None:
        return ctx.unknown("interpolation of a tensor of unknown rank", x)
    return ctx.without(x, range(2 - (x.rank or 2), 0), pin=True)


def pad(ctx: Context, x: Value, pad: object, *_: object, **__: object) -> Value:
    """Padding of the last axes."""
    if not isinstance(pad, (list, tuple)):
        return ctx.unknown("pad", x)
    given = zip(pad[::2], pad[1::2], strict=False)
    moved = [-1 - i for i, (a, b) in enumerate(given) if (a, b) != (0, 0)]
    return ctx.without(x, moved, pin=True)
