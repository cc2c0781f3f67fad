"""What every rule uses: to read an axis, combine tensors, and pin what is not understood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ._parameters import Parameters
from ._populations import Axes, Node, Populations
from ._value import NUMBER, Axis, ParameterRef, Size, Sizes, Value, parameters_in, values_in


class Context:
    """The state of a walk through one module."""

    def __init__(self, populations: Populations, parameters: Parameters) -> None:
        self.populations = populations
        self.parameters = parameters
        self.layer = ""  # the submodule at hand, after which new populations are named

    def pin(self, tree: object) -> None:
        """Records that the order of all neurons in these tensors matters."""
        for value in values_in(tree):
            self.populations.pin(value.nodes)

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
        if pin:
            self.populations.pin(axis.node for axis in gone.values())
        kept = {a: axis for a, axis in value.axes.items() if a not in gone}
        lost = value.lost | {axis.node for axis in gone.values()}
        return Value(kept, value.rank, None, value.source, lost)

    def read_axis(self, value: Value, dim: int, size: int) -> list[tuple[Node | None, int]]:
        """How an axis of `size` entries, which a layer reads, runs over neurons and positions."""
        axis = value.axes.get(dim)
        if axis is None:
            return [(self._edge(value, size), size)]
        neurons = self.populations.size(axis.node)
        if neurons == size:
            return [(axis.node, size)]
        if size % neurons == 0 and axis.after != axis.before:
            positions = (None, size // neurons)
            pair: list[tuple[Node | None, int]] = [(axis.node, neurons)]
            return [*pair, positions] if axis.after else [positions, *pair]
        self.populations.pin([axis.node])
        return [(self._edge(Value(), size), size)]

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
        axes = {}
        for dim in sorted({dim for value in values for dim in value.axes}):
            axis = self._align(dim, values)
            if axis is not None:
                axes[dim] = axis
        ranks = [value.rank for value in values]
        rank = None if None in ranks else max(r for r in ranks if r is not None)
        sources = {value.source for value in values if value.shape is None}
        source = sources.pop() if len(sources) == 1 and not axes else None
        lost = frozenset().union(*(value.lost for value in values))
        shape = () if all(value.shape == () for value in values) else None
        ones = frozenset(d for value in values for d in value.ones if _all_one(values, d))
        return Value(axes, rank, shape, source, lost, ones)

    def _align(self, dim: int, values: Sequence[Value]) -> Axis | None:
        """What all of these tensors run over along one axis."""
        given = [value.axes[dim] for value in values if dim in value.axes]
        wide = [axis for axis in given if not (axis.is_plain and self._is_one(axis))]
        given = wide or given
        others = [v for v in values if dim not in v.axes and not v.is_one(dim)]
        nodes = [axis.node for axis in given]
        sizes = {self.populations.size(node) for node in nodes}
        layouts = {(axis.before, axis.after) for axis in given if not axis.is_plain}
        if others:
            self.populations.pin(nodes)
        if len(sizes) > 1 or len(layouts) > 1:
            self.populations.pin(nodes)
            return None
        for node in nodes[1:]:
            self.populations.join(nodes[0], node)
        plain = [axis for axis in given if axis.is_plain]
        return (plain or given)[0]

    def _is_one(self, axis: Axis) -> bool:
        return self.populations.size(axis.node) == 1

    def as_value(self, item: object) -> Value:
        """A parameter as a tensor: one entry a neuron if all its axes but one have size 1."""
        if isinstance(item, Value):
            return item
        if isinstance(item, (Size, Sizes, int, float, bool)):
            return NUMBER
        if not isinstance(item, ParameterRef):
            return self.unknown("nested arguments", item)
        shape = self.parameters.shape(item.name)
        wide = [axis for axis, size in enumerate(shape) if size > 1]
        value = Value(rank=len(shape), shape=shape)
        if len(wide) != 1:
            numbers = "a single number, which belongs to no neurons"
            self.parameters.drop(item.name, f"is {numbers if not wide else 'a custom parameter'}")
            return value
        node = self.populations.new(item.name, shape[wide[0]])
        axes: Axes = [(node if axis == wide[0] else None, size) for axis, size in enumerate(shape)]
        self.parameters.claim(item.name, axes, [node])
        return Value({wide[0] - len(shape): Axis(node)}, len(shape), shape)

    def as_values(self, tree: object) -> list[Value]:
        """All tensors and parameters in nested arguments, as tensors."""
        found = values_in(tree) + [self.as_value(parameter) for parameter in parameters_in(tree)]
        return found


def _all_one(values: Sequence[Value], dim: int) -> bool:
    return all(value.is_one(dim) for value in values)


def _lost(values: Iterable[Value]) -> frozenset[Node]:
    return frozenset().union(*(value.nodes | value.lost for value in values))
