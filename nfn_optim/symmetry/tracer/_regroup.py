"""Views that split neurons into equal groups (heads, maps side by side) or put them together."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ._context import Context
from ._sizes import known_size
from ._value import Axis, Part, Size, Sizes, Value

_MAPS = (2, 3)  # keys and values, or queries too, stand first in what is fused


def regroup(ctx: Context, x: Value, dims: Sequence[object]) -> Value | None:
    """A view, followed from the last axis to the front as far as there are neurons.

    None where it is not certain what goes where. Axes without neurons, of unknown size, are taken
    to be those that a size of unknown value in `dims` stands for.
    """
    walk = _Walk(ctx, x, _resolved(ctx, x, dims))
    while walk.is_open:
        if not walk.step():
            return None
    ones = frozenset(at - len(dims) for at, size in enumerate(dims) if size == 1)
    return Value(walk.axes, rank_of(dims), None, x.source, x.lost, ones)


def rank_of(dims: Sequence[object]) -> int | None:
    """How many axes a tensor of such sizes has."""
    return None if any(isinstance(size, Sizes) for size in dims) else len(dims)


class _Walk:
    """Where a view is at: axes of the tensor before and after that are left, from the back."""

    def __init__(self, ctx: Context, x: Value, dims: Sequence[object]) -> None:
        self.ctx, self.x, self.dims = ctx, x, dims
        self.old, self.new = -1, -1
        self.axes: dict[int, Axis] = {}

    @property
    def is_open(self) -> bool:
        """Whether there are neurons left."""
        return any(dim <= self.old for dim in self.x.axes)

    def step(self) -> bool:
        """Goes on by one axis, or by several that are split or merged; False where unsure."""
        if -self.new > len(self.dims):
            return False
        wanted, size = self.dims[self.new], known_size(self.ctx, self.x, self.old)
        if isinstance(wanted, Sizes):
            return self._keep_first(wanted)
        axis = self.x.axes.get(self.old)
        if wanted == 1 and size != 1:
            self.new -= 1
            return True
        if size == 1 and wanted != 1:
            self.old -= 1
            return axis is None
        if wanted == -1:
            return self._merge_rest()
        if isinstance(wanted, int) and size is not None:
            if wanted == size:
                return self._move(1, 1, axis)
            return self._split(axis, size) if wanted < size else self._merge(wanted)
        if isinstance(wanted, Size) and wanted.times > 1:
            return self._merge(wanted.times, with_positions=True)
        if axis is not None:
            return self._unflatten(axis, wanted)
        if isinstance(wanted, int) and wanted > 1:
            return self._merge_copies(wanted)
        return size is None and isinstance(wanted, Size) and self._move(1, 1, None)

    def _keep_first(self, sizes: Sizes) -> bool:
        """All axes that are left stay as they are."""
        if self.old != -1 - sizes.without:
            return False
        left = {dim: axis for dim, axis in self.x.axes.items() if dim <= self.old}
        self.axes |= {dim - self.old + self.new: axis for dim, axis in left.items()}
        self.old = min(left) - 1
        return True

    def _are_as_many(self, new: int) -> bool:
        """Whether as many axes are in front of the one at hand as sizes in front of another."""
        return self.x.rank is not None and self.x.rank + self.old == len(self.dims) + new

    def _move(self, old: int, new: int, axis: Axis | None) -> bool:
        if axis is not None:
            self.axes[self.new] = axis
        self.old, self.new = self.old - old, self.new - new
        return True

    def _split(self, axis: Axis | None, size: int) -> bool:
        """One axis becomes several, whose sizes make its own."""
        block: list[int] = []
        while prod(block) < size and len(block) - self.new <= len(self.dims):
            wanted = self.dims[self.new - len(block)]
            if wanted == -1 and self._are_as_many(self.new - len(block)):
                wanted = size // prod(block)
            if not isinstance(wanted, int) or wanted < 1 or size % (prod(block) * wanted):
                return False
            block.insert(0, wanted)
        if prod(block) != size:
            return False
        parts = {} if axis is None else split_axis(self.ctx, axis, block)
        self.axes |= {self.new + 1 - len(block) + at: part for at, part in parts.items()}
        return self._move(1, len(block), None)

    def _merge(self, wanted: int, *, with_positions: bool = False) -> bool:
        """Several axes become one; `with_positions`: with one in front whose size is not known."""
        dims: list[int] = []
        count = 1
        while count < wanted:
            dims.insert(0, self.old - len(dims))
            size = known_size(self.ctx, self.x, dims[0])
            if size is None:
                return False
            count *= size
        if count != wanted:
            return False
        merged = merge_axes(self.ctx, self.x, dims)
        if with_positions:
            dims.insert(0, self.old - len(dims))
            if dims[0] in self.x.axes or (self.x.rank is not None and -dims[0] > self.x.rank):
                return False
            axes = {} if merged is None else {-1: merged}
            merged = self.ctx.settled(Value(axes), decide=True).axes.get(-1)
            if merged is not None and not merged.is_plain:
                return False
            merged = None if merged is None else Axis(merged.node, before=True)
        return self._move(len(dims), 1, merged)

    def _merge_rest(self) -> bool:
        """What is left open takes all axes but those that sizes in front of it stand for."""
        lead = len(self.dims) + self.new
        if self.x.rank is None or not all(map(_is_kept, self.dims[:lead])):
            return False
        dims = range(lead - self.x.rank, self.old + 1)
        return len(dims) > 0 and self._move(len(dims), 1, merge_axes(self.ctx, self.x, dims))

    def _merge_copies(self, wanted: int) -> bool:
        """An axis whose size is not known becomes one with the neurons in front of it."""
        front = self.old - 1
        size = known_size(self.ctx, self.x, front)
        if front not in self.x.axes or size is None or wanted % size:
            return False
        self.old = front
        merged = merge_axes(self.ctx, self.x, [front, front + 1])
        return self._are_as_many(self.new) and self._move(1, 1, merged)

    def _unflatten(self, axis: Axis, wanted: object) -> bool:
        """Positions in front of neurons become an axis again."""
        if not axis.before or axis.after or wanted != self.ctx.populations.size(axis.node):
            return False
        self.axes[self.new] = Axis(axis.node)
        self.new -= 1
        in_front = -self.new <= len(self.dims) and isinstance(self.dims[self.new], Size)
        return in_front and self._move(1, 1, None)


def _resolved(ctx: Context, x: Value, dims: Sequence[object]) -> list[object]:
    """Sizes with the one that is left open (-1) worked out, where it is behind what is kept."""
    lead = next((i for i, d in enumerate(dims) if not _is_kept(d)), len(dims))
    rest = [size for size in dims[lead:] if size != -1]
    behind = -min(x.axes) if x.rank is None else x.rank - lead
    if -1 not in dims or (x.rank is None and not lead) or behind < 1:
        return list(dims)
    sizes = [known_size(ctx, x, dim) for dim in range(-behind, 0)]
    known = [size for size in sizes if size is not None]
    numbers = [size for size in rest if isinstance(size, int)]
    if len(known) < len(sizes) or len(numbers) < len(rest) or 0 in numbers:
        return list(dims)
    missing, remainder = divmod(prod(known), prod(numbers))
    return [missing if d == -1 and not remainder else d for d in dims]


def _is_kept(size: object) -> bool:
    return isinstance(size, Sizes) or (isinstance(size, Size) and size.times == 1)


def split_axis(ctx: Context, axis: Axis, block: Sequence[int]) -> dict[int, Axis]:
    """The axes that one becomes which is split into a block, by their place in it.

    Two parts are groups and what is in each; of three, the first are maps side by side if they are
    two or three, or else heads whose inside keeps its order.
    """
    wide = [at for at, size in enumerate(block) if size > 1]
    if len(wide) == 1:
        return {wide[0]: axis}
    node, first = axis.node, block[wide[0]]
    if not axis.is_plain or len(wide) > 3 or ctx.populations.are_heads(node):
        ctx.hold(axis)
        return {}
    if len(wide) == 3 and first in _MAPS:
        each = ctx.populations.each(node, first)
        if each is None:
            ctx.hold(axis)
            return {}
        inner = split_axis(ctx, Axis(each), block[wide[1] :])
        return {wide[1] + at: part for at, part in inner.items()}
    if not ctx.populations.split(node, first):
        ctx.hold(axis)
        return {}
    outer, inside = Axis(node, part=Part.OUTER), Axis(node, part=Part.INNER)
    if len(wide) == 2:
        return {wide[0]: outer, wide[1]: inside}
    ctx.hold(inside)
    return {wide[0]: outer}


def merge_axes(ctx: Context, x: Value, dims: Sequence[int]) -> Axis | None:
    """What one axis runs over that is made of several, all next to each other."""
    wide = [dim for dim in dims if known_size(ctx, x, dim) != 1]
    given = [x.axes.get(dim) for dim in wide]
    named = [axis for axis in given if axis is not None]
    if len(wide) == 1 or not named:
        return named[0] if named else None
    first, last = given[0], given[-1]
    if len(given) == 2 and first is not None and last is not None and _is_head_of(ctx, first, last):
        return Axis(last.node)
    settled = ctx.settled(Value({dim: x.axes[dim] for dim in wide if dim in x.axes}), decide=True)
    inside = [axis for axis in settled.axes.values() if axis.part is Part.INNER]
    whole = {dim: axis for dim, axis in settled.axes.items() if axis.part is Part.WHOLE}
    free = {d: a for d, a in whole.items() if not ctx.populations.is_ordered(a.node)}
    free = whole if len(whole) == 1 else free
    for axis in (*inside, *(a for d, a in whole.items() if len(free) != 1 or d not in free)):
        ctx.hold(axis)
    if len(free) != 1:
        return None
    [(dim, axis)] = free.items()
    before, after = axis.before or dim > wide[0], axis.after or dim < wide[-1]
    return Axis(axis.node, before, after)


def _is_head_of(ctx: Context, first: Axis, last: Axis) -> bool:
    """Whether one axis runs over heads, and the next over the neurons inside of them."""
    if last.part is not Part.INNER or first.before or first.after:
        return False
    find = ctx.populations.find
    if first.part is Part.OUTER:
        return find(first.node) == find(last.node)
    heads, _ = ctx.populations.decided(last.node)
    return first.is_plain and heads is not None and find(heads) == find(first.node)
