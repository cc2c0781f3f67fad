"""Tensors brought together: along each axis their neurons become the same, or keep their order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ._populations import Populations
from ._value import Axis, Part, Value

Name = TypeVar("Name", bound=Hashable)  # what an axis is called where tensors meet


def hold(populations: Populations, axis: Axis) -> None:
    """Records that the order along an axis matters: of neurons, of heads, or inside of heads."""
    if axis.part is Part.INNER:
        if populations.heads(axis.node) is not None:
            populations.stiffen(axis.node)
        populations.pin(each for each in populations.decided(axis.node)[1:] if each is not None)
    elif axis.part is Part.OUTER:
        heads = populations.heads(axis.node)
        populations.pin([] if heads is None else [heads])
    else:
        populations.pin([axis.node])


def settle(populations: Populations, axis: Axis, *, decide: bool) -> Axis | None:
    """The axis in terms of heads or maps, where that is known or (`decide`) becomes heads."""
    if axis.part is Part.WHOLE:
        return axis
    if decide:
        populations.heads(axis.node)
    heads, each = populations.decided(axis.node)
    if each is not None:
        return replace(axis, node=each, part=Part.WHOLE) if axis.part is Part.INNER else None
    if heads is not None and axis.part is Part.OUTER:
        return replace(axis, node=heads, part=Part.WHOLE)
    return axis


def settle_value(populations: Populations, x: Value, *, decide: bool) -> Value:
    """A tensor whose axes are all settled."""
    if all(axis.part is Part.WHOLE for axis in x.axes.values()):
        return x
    found = {dim: settle(populations, axis, decide=decide) for dim, axis in x.axes.items()}
    return replace(x, axes={dim: axis for dim, axis in found.items() if axis is not None})


def without_torn_heads(populations: Populations, x: Value) -> Value:
    """Neurons of a head keep their order in a tensor that has the axis of heads no more."""
    x = settle_value(populations, x, decide=False)
    kept = {
        dim: axis
        for dim, axis in x.axes.items()
        if axis.part is not Part.INNER or _home(populations, x.axes, axis) is not None
    }
    for dim in x.axes.keys() - kept.keys():
        hold(populations, x.axes[dim])
    return x if len(kept) == len(x.axes) else replace(x, axes=kept)


def meet(
    populations: Populations,
    operands: Sequence[Mapping[Name, Axis]],
    is_wide: Callable[[int, Name], bool],
) -> dict[Name, Axis]:
    """What operands run over, all together, along each axis.

    Args:
        populations: Where neurons are joined, or held.
        operands: Settled axes of each tensor, by name.
        is_wide: Whether an operand may change along an axis that it has no neurons on.
    """
    names = list(dict.fromkeys(name for axes in operands for name in axes))
    inner = {n: any(a[n].part is Part.INNER for a in operands if n in a) for n in names}
    found: dict[Name, Axis] = {}
    for name in sorted(names, key=inner.__getitem__):  # heads first
        given = [axes[name] for axes in operands if name in axes]
        homes = {_home(populations, axes, axes[name]) for axes in operands if name in axes}
        unmoved = any(name not in axes and is_wide(i, name) for i, axes in enumerate(operands))
        axis = _align(populations, given, unmoved, torn=inner[name] and len(homes) > 1)
        if axis is not None:
            found[name] = axis
    return found


def _align(
    populations: Populations, given: Sequence[Axis], unmoved: bool, *, torn: bool
) -> Axis | None:
    """What these axes run over once they are one; `torn` if heads are on different axes."""
    wide = [a for a in given if not (a.is_plain and populations.size(a.node) == 1)]
    given = wide or given
    sizes = {populations.size(axis.node) for axis in given}
    layouts = {(axis.before, axis.after) for axis in given if not axis.is_plain}
    parts = {axis.part for axis in given}
    if not unmoved and _follow(populations, given):
        return next(axis for axis in given if axis.is_plain)
    differ = len(sizes) > 1 or len(layouts) > 1 or len(parts) > 1
    if differ or unmoved or (torn and len(given) > 1):
        for axis in given:
            hold(populations, axis)
    if differ:
        return None
    for axis in given[1:]:
        if not torn:
            populations.join(given[0].node, axis.node)
    plain = [axis for axis in given if axis.is_plain]
    return (plain or given)[0]


def _follow(populations: Populations, given: Sequence[Axis]) -> bool:
    """Heads that meet copies of fewer heads (queries that share keys) go along with these."""
    heads = [axis.node for axis in given if axis.is_plain and populations.are_heads(axis.node)]
    copied = [a.node for a in given if a.after and not a.before and populations.are_heads(a.node)]
    counts = [{populations.size(node) for node in nodes} for nodes in (heads, copied)]
    if len(heads) + len(copied) < len(given) or [len(count) for count in counts] != [1, 1]:
        return False
    if counts[0].pop() % counts[1].pop():
        return False
    for nodes in (heads, copied):
        for node in nodes[1:]:
            populations.join(nodes[0], node)
    populations.follow(heads[0], copied[0])
    return True


def _home(populations: Populations, axes: Mapping[Name, Axis], axis: Axis) -> Name | None:
    """On which axis the heads are whose neurons another axis runs over."""
    if axis.part is not Part.INNER:
        return None
    heads, each = populations.decided(axis.node)
    if heads is None:
        same = (n for n, a in axes.items() if a.part is Part.OUTER and a.node == axis.node)
        return None if each is not None else next(same, None)
    root = populations.find(heads)
    wanted = (
        n for n, a in axes.items() if a.part is Part.WHOLE and populations.find(a.node) == root
    )
    return next(wanted, None)
