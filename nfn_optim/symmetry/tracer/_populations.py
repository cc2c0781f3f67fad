"""Populations of neurons as they are found, merged and turned into labels.

Every axis of every parameter starts with a population of its own (a node). Whatever makes two axes
run over the same neurons joins their nodes (union-find); whatever is not understood pins them, so
that a mistake can only cost symmetry, never claim one that does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


def _alternatives(name: str, owner: str) -> Iterator[str]:
    if owner != name:
        yield f"{name}:{owner}"
    yield from (f"{name}:{i}" for i in count(2))
