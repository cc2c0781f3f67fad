"""How many entries axes have, as far as that is known."""

from __future__ import annotations

from ._context import Context
from ._value import Axis, Part, Size, Sizes, Value


def sizes_in(ctx: Context, dims: object) -> list[object] | None:
    """The sizes that a view is given, also as shapes of tensors; None where they are not known.

    What is not known may stand in front: the first axes of a tensor of unknown rank.
    """
    if isinstance(dims, Sizes):
        dims = (dims,)
    if not isinstance(dims, (list, tuple)):
        return None
    found: list[object] = []
    for size in dims:
        rank = size.of.rank if isinstance(size, Sizes) else 0
        if isinstance(size, Sizes) and rank is not None:
            found += [size_at(ctx, size.of, axis - rank) for axis in range(rank - size.without)]
        elif rank is None and found:
            return None
        else:
            found.append(size)
    return found


def size_at(ctx: Context, x: Value, dim: int) -> object:
    """One entry of `x.shape`: a number where it is known."""
    known = known_size(ctx, x, dim)
    return Size(is_batch=x.rank is not None and dim == -x.rank) if known is None else known


def known_size(ctx: Context, x: Value, dim: int) -> int | None:
    """One entry of `x.shape`, where it is known."""
    axis = x.axes.get(dim)
    if axis is not None:
        return _extent(ctx, axis)
    if x.shape is not None and -dim <= len(x.shape):
        return x.shape[dim]
    return 1 if dim in x.ones else None


def _extent(ctx: Context, axis: Axis) -> int | None:
    """How many entries an axis has, where there are no positions of unknown number on it."""
    if axis.before or axis.after:
        return None
    size, groups = ctx.populations.size(axis.node), ctx.populations.num_groups(axis.node)
    whole = {Part.WHOLE: size, Part.OUTER: groups, Part.INNER: size // groups}
    return whole[axis.part]
