"""Populations of neurons as they are found, merged and turned into labels.

Every axis of every parameter starts with a population of its own (a node). Whatever makes two axes
run over the same neurons joins their nodes (union-find); whatever is not understood pins them, so
that a mistake can only cost symmetry, never claim one that does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

Shape = tuple[int, ...]
Node = int
Axes = Sequence[tuple[Node | None, int]]  # an axis split into (population or None, size)


@dataclass
class _Flags:
    """What is known of one population."""

    name: str
    size: int
    pinned: bool = False
    is_input: bool = False
    is_output: bool = False


class Populations:
    """Union-find over axes of parameters."""

    def __init__(self) -> None:
        self._parent: list[Node] = []
        self._flags: list[_Flags] = []

    def new(self, name: str, size: int, *, pinned: bool = False, is_input: bool = False) -> Node:
        """A population of its own."""
        self._parent.append(len(self._parent))
        self._flags.append(_Flags(name, size, pinned, is_input))
        return len(self._parent) - 1

    def find(self, node: Node) -> Node:
        """The node that stands for all that were joined with this one: the oldest."""
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def join(self, a: Node, b: Node) -> Node:
        """Makes two populations one; populations of different sizes are pinned instead."""
        first, second = sorted((self.find(a), self.find(b)))
        if first == second:
            return first
        kept, gone = self._flags[first], self._flags[second]
        if kept.size != gone.size:
            self.pin([first, second])
            return first
        kept.pinned |= gone.pinned
        kept.is_input |= gone.is_input
        kept.is_output |= gone.is_output
        self._parent[second] = first
        return first

    def pin(self, nodes: Iterable[Node]) -> None:
        """Records that the order of these neurons matters."""
        for node in nodes:
            self._flags[self.find(node)].pinned = True

    def mark_output(self, nodes: Iterable[Node]) -> None:
        """Records that these neurons are the network's outputs."""
        for node in nodes:
            self._flags[self.find(node)].is_output = True

    def size(self, node: Node) -> int:
        """Number of neurons."""
        return self._flags[self.find(node)].size

    def resize(self, node: Node, size: int) -> None:
        """Sets the number of neurons, for inputs that were made before their first reader."""
        self._flags[self.find(node)].size = size

    def labels(self, used: Iterable[Node]) -> dict[Node, str]:
        """A name for each population: `in`, `out`, or the first layer that writes to it."""
        names: dict[Node, str] = {}
        for node in sorted({self.find(n) for n in used}):
            flags = self._flags[node]
            name = "in" if flags.is_input else "out" if flags.is_output else flags.name
            taken = set(names.values())
            if name in taken:
                name = next(n for n in _alternatives(name, flags.name) if n not in taken)
            names[node] = name
        return names

    def is_io(self, node: Node) -> bool:
        """Whether these are the network's inputs or outputs."""
        flags = self._flags[self.find(node)]
        return flags.is_input or flags.is_output

    def is_ordered(self, node: Node) -> bool:
        """Whether the order of these neurons is known to matter, so they count as positions."""
        return self.is_io(node) or self._flags[self.find(node)].pinned

    def is_pinned(self, node: Node) -> bool:
        """Whether the order of these neurons matters though they are hidden."""
        return self._flags[self.find(node)].pinned and not self.is_io(node)


@dataclass
class _Claim:
    """How one parameter's storage runs over populations."""

    axes: Axes
    stored: Shape
    order: Shape


@dataclass(frozen=True)
class Description:
    """Parameters whose neurons are known, as plain values; the fields are those of a spec.

    Attributes:
        axes: Populations that each parameter's axes run over, None for axes whose order matters.
        shapes: Sizes of these axes.
        io: Populations that are inputs or outputs of the network.
        pinned: Hidden populations whose order matters.
        stored: Shapes in the module's state dict.
        orders: Which axis of the storage each axis is, where they are in another order.
    """

    axes: Mapping[str, tuple[str | None, ...]]
    shapes: Mapping[str, Shape]
    io: frozenset[str]
    pinned: frozenset[str]
    stored: Mapping[str, Shape]
    orders: Mapping[str, Shape]


class Parameters:
    """What is known of every parameter: the populations of its axes, or why it has none."""

    def __init__(self, populations: Populations, shapes: Mapping[str, Shape]) -> None:
        self._populations = populations
        self._shapes = shapes
        self._claims: dict[str, _Claim] = {}
        self.reasons: dict[str, str] = {}

    def shape(self, name: str) -> Shape:
        """Stored shape."""
        return self._shapes[name]

    def is_known(self, name: str) -> bool:
        """Whether a parameter was claimed or dropped."""
        return name in self._claims or name in self.reasons

    def claim(self, name: str, axes: Axes, roles: Sequence[Node]) -> None:
        """Records over which populations a parameter's axes run.

        A second claim (a layer called twice, tied weights) joins the populations axis by axis.

        Args:
            name: The parameter.
            axes: Its storage, split into axes.
            roles: The populations in the spec's order: outputs, then inputs.
        """
        named = [node for node, _ in axes]
        first = [named.index(node) for node in roles]
        order = (*first, *(axis for axis, node in enumerate(named) if node is None))
        claim = _Claim(axes, self._shapes[name], order)
        known = self._claims.setdefault(name, claim)
        if [size for _, size in known.axes] != [s for _, s in axes] or known.order != order:
            self.drop(name, "is shared by layers that read it in different ways")
            self._populations.pin(roles)
            return
        for (a, _), (b, _) in zip(known.axes, axes, strict=True):
            if a is not None and b is not None:
                self._populations.join(a, b)

    def drop(self, name: str, reason: str) -> None:
        """Leaves a parameter out of the spec; the neurons it touches keep their order."""
        self.reasons.setdefault(name, reason)

    def nodes(self, name: str) -> Iterator[Node]:
        """Populations that a claimed parameter runs over."""
        if name in self._claims:
            yield from (node for node, _ in self._claims[name].axes if node is not None)

    def describe(self) -> Description:
        """All claimed parameters, in the module's order."""
        self._drop_repeated()
        kept = {n: self._claims[n] for n in self._shapes if self._is_kept(n)}
        populations = self._populations
        nodes = {populations.find(node) for name in kept for node in self.nodes(name)}
        label = populations.labels(nodes)
        axes, shapes, orders = {}, {}, {}
        for name, claim in kept.items():
            ordered = [claim.axes[axis] for axis in claim.order]
            axes[name] = tuple(
                None if n is None else label[populations.find(n)] for n, _ in ordered
            )
            shapes[name] = tuple(size for _, size in ordered)
            if claim.order != tuple(range(len(claim.order))):
                orders[name] = claim.order
        return Description(
            axes,
            shapes,
            io=frozenset(label[n] for n in nodes if populations.is_io(n)),
            pinned=frozenset(label[n] for n in nodes if populations.is_pinned(n)),
            stored={name: claim.stored for name, claim in kept.items()},
            orders=orders,
        )

    def _is_kept(self, name: str) -> bool:
        return name in self._claims and name not in self.reasons

    def _drop_repeated(self) -> None:
        for name in self._claims:
            roots = [self._populations.find(node) for node in self.nodes(name)]
            if len(set(roots)) < len(roots):
                self.drop(name, "two of its axes run over the same neurons")
        for name in self.reasons:
            self._populations.pin(self.nodes(name))


def _alternatives(name: str, owner: str) -> Iterator[str]:
    if owner != name:
        yield f"{name}:{owner}"
    yield from (f"{name}:{i}" for i in count(2))
