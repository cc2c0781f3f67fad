"""What every rule uses: to read an axis, combine tensors, and pin what is not understood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from ._meet import hold, meet, settle_value, without_torn_heads
from ._parameters import Parameters
from ._populations import Node, Populations
from ._value import (
    NUMBER,
    Axis,
    ParameterRef,
    Part,
    Several,
    Size,
    Sizes,
    Stacked,
    Value,
    parameters_in,
    values_in,
)


class Context:
    """The state of a walk through one module."""

    def __init__(self, populations: Populations, parameters: Parameters) -> None:
        self.populations = populations
        self.parameters = parameters
        self._guesses: list[frozenset[Node]] = []
        self.layer = ""  # the submodule at hand, after which new populations are named

    def guess(self, x: Value) -> Value:
        """A tensor whose last axis is taken to be that of its neurons still.

        It is, where a layer for so many neurons reads it; otherwise they keep their order.
        """
        self._guesses.append(x.nodes)
        return replace(x, guesses=x.guesses | {len(self._guesses) - 1})

    def hold_guesses(self) -> None:
        """Records that the order of neurons matters where nothing has confirmed a guess."""
        for nodes in self._guesses:
            self.populations.pin(nodes)

    def hold(self, axis: Axis) -> None:
        """Records that the order along an axis matters."""
        hold(self.populations, axis)

    def pin(self, tree: object) -> None:
        """Records that the order of all neurons in these tensors matters."""
        for value in values_in(tree):
            for axis in value.axes.values():
                self.hold(axis)

    def settled(self, tree: Any, *, decide: bool) -> Any:
        """Nested arguments whose tensors tell heads from maps; `decide` where nothing did yet."""
        if isinstance(tree, Value):
            return settle_value(self.populations, tree, decide=decide)
        if isinstance(tree, Several):
            return Several(settle_value(self.populations, tree.item, decide=decide))
        if isinstance(tree, (list, tuple)):
            return tuple(self.settled(item, decide=decide) for item in tree)
        if isinstance(tree, dict):
            return {key: self.settled(item, decide=decide) for key, item in tree.items()}
        return tree

    def checked(self, tree: Any) -> Any:
        """What a rule returns, where neurons keep their order in heads that are no more."""
        if isinstance(tree, Value):
            return without_torn_heads(self.populations, tree)
        if isinstance(tree, Several):
            return Several(without_torn_heads(self.populations, tree.item))
        return tuple(map(self.checked, tree)) if isinstance(tree, tuple) else tree

    def unknown(self, what: str, *args: object) -> Value:
        """The result of something that is not understood: its neurons keep their order."""
        self.pin(args)
        for parameter in parameters_in(args):
            self.parameters.drop(parameter.name, f"is used by {what}, which has no rule")
        values = values_in(args)
        sources = {value.source for value in values if not value.axes and value.source is not None}
        source = sources.pop() if len(sources) == 1 and not _lost(values) else None
        return Value(source=source, lost=_lost(values))

    def without(self, value: Value, axes: Iterable[int], *, pin: bool) -> Value:
        """The tensor with these axes counted as unmoved: reduced, or (pinned) not understood."""
        gone = {a: axis for a, axis in value.axes.items() if a in set(axes)}
        for axis in gone.values() if pin else ():
            self.hold(axis)
        kept = {a: axis for a, axis in value.axes.items() if a not in gone}
        lost = value.lost | {axis.node for axis in gone.values()}
        return Value(kept, value.rank, None, value.source, lost, guesses=value.guesses)

    def read_axis(self, value: Value, dim: int, size: int) -> list[tuple[Node | None, int]]:
        """How an axis of `size` entries, which a layer reads, runs over neurons and positions."""
        axis = value.axes.get(dim)
        if axis is None:
            return [(self._edge(value, size), size)]
        neurons = self.populations.size(axis.node)
        if axis.part is not Part.WHOLE:
            self.hold(axis)
            return [(self._edge(Value(), size), size)]
        if neurons == size:
            for guess in value.guesses if dim == -1 and size > 1 else ():
                self._guesses[guess] = frozenset()
            return [(axis.node, size)]
        if axis.after and not axis.before and self.populations.are_heads(axis.node):
            return [(self._of_heads(axis.node, size), size)]
        if size % neurons == 0 and axis.after != axis.before:
            positions = (None, size // neurons)
            pair: list[tuple[Node | None, int]] = [(axis.node, neurons)]
            return [*pair, positions] if axis.after else [positions, *pair]
        self.populations.pin([axis.node])
        return [(self._edge(Value(), size), size)]

    def _of_heads(self, heads: Node, size: int) -> Node:
        """Neurons in heads whose inside is not understood, so that it keeps its order."""
        if size % self.populations.size(heads):
            self.populations.pin([heads])
            return self._edge(Value(), size)
        return self.populations.new_rigid(f"{self.layer}.in", size, heads)

    def _edge(self, value: Value, size: int) -> Node:
        """Neurons that the network does not write: its inputs, or something not understood."""
        if value.source is not None and self.populations.size(value.source) in (0, size):
            self.populations.resize(value.source, size)
            return value.source
        is_input = value.source is not None
        name = f"{self.layer}.in" if self.layer else "in"
        return self.populations.new(name, size, pinned=True, is_input=is_input)

    def combine(self, values: Sequence[Value]) -> Value:
        """Tensors brought together entry by entry: their neurons become the same."""
        if not values:
            return NUMBER
        if len(values) == 1:
            return values[0]
        wide = [value for value in values if value.axes or not value.rank == 0]
        values = [settle_value(self.populations, v, decide=len(wide) > 1) for v in values]
        axes = meet(
            self.populations,
            [value.axes for value in values],
            lambda i, dim: not values[i].is_one(dim),
        )
        ranks = [value.rank for value in values]
        rank = None if None in ranks else max(r for r in ranks if r is not None)
        sources = {value.source for value in values if value.shape is None}
        source = sources.pop() if len(sources) == 1 and not axes else None
        lost = frozenset().union(*(value.lost for value in values))
        shape = _broadcast(values)
        ones = frozenset(d for value in values for d in value.ones if _all_one(values, d))
        guesses = frozenset().union(*(value.guesses for value in values))
        return Value(axes, rank, shape, source, lost, ones, guesses)

    def as_value(self, item: object) -> Value:
        """A parameter as a tensor; each of its axes is a population until something tells more."""
        if isinstance(item, Value):
            return item
        if isinstance(item, Stacked):
            return replace(self.combine(item.items), rank=3)
        if isinstance(item, (Size, Sizes, int, float, bool)):
            return NUMBER
        if not isinstance(item, ParameterRef):
            return self.unknown("nested arguments", item)
        shape = self.parameters.shape(item.name)
        rank = len(shape)
        name = item.owner if ".parametrizations." in item.name else item.name
        axes: list[tuple[Node | None, int]] = [
            (self.populations.new(name, size) if size > 1 else None, size) for size in shape
        ]
        nodes = {axis - rank: node for axis, (node, _) in enumerate(axes) if node is not None}
        self.parameters.claim(item.name, axes, list(nodes.values()), is_custom=True)
        return Value({dim: Axis(node) for dim, node in nodes.items()}, rank, shape)

    def as_values(self, tree: object) -> list[Value]:
        """All tensors and parameters in nested arguments, as tensors."""
        found = values_in(tree) + [self.as_value(parameter) for parameter in parameters_in(tree)]
        return found


def _all_one(values: Sequence[Value], dim: int) -> bool:
    return all(value.is_one(dim) for value in values)


def _broadcast(values: Sequence[Value]) -> tuple[int, ...] | None:
    shapes = [value.shape for value in values if value.shape is not None]
    if len(shapes) < len(values):
        return None
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:  # they cannot be brought together
        return None


def _lost(values: Iterable[Value]) -> frozenset[Node]:
    return frozenset().union(*(value.nodes | value.lost for value in values))
