"""Populations of neurons as they are found, merged and turned into labels.

Every axis of every parameter starts with a population of its own (a node). Whatever makes two axes
run over the same neurons joins their nodes (union-find); whatever is not understood pins them, so
that a mistake can only cost symmetry, never claim one that does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from ._flags import Flags, Node, Split

Shape = tuple[int, ...]
Axes = Sequence[tuple[Node | None, int]]  # an axis split into (population or None, size)


class Populations:
    """Union-find over axes of parameters."""

    def __init__(self) -> None:
        self._parent: list[Node] = []
        self._flags: list[Flags] = []

    def new(self, name: str, size: int, *, pinned: bool = False, is_input: bool = False) -> Node:
        """A population of its own."""
        self._parent.append(len(self._parent))
        self._flags.append(Flags(name, size, pinned, is_input))
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
        kept.are_heads |= gone.are_heads
        kept.is_side |= gone.is_side
        kept.leaders = self._join_known(kept.leaders, gone.leaders)
        self._parent[second] = first
        self._join_splits(first, gone.split)
        if kept.is_output:
            self.mark_output([first])
        if kept.pinned:
            kept.pinned = False
            self.pin([first])  # what it is made of, too
        return first

    def _join_splits(self, node: Node, other: Split | None) -> None:
        split = self._flags[node].split
        if split is None or other is None:
            self._flags[node].split = split or other
            return
        split.is_rigid |= other.is_rigid
        kinds = {(s.heads is None, s.each is None) for s in (split, other)} - {(True, True)}
        if split.count != other.count or len(kinds) > 1:
            ours, theirs = ([s.heads, s.each] for s in (split, other))
            self.pin([node, *(n for n in (*ours, *theirs) if n is not None)])
            return
        split.heads = self._join_known(split.heads, other.heads)
        split.each = self._join_known(split.each, other.each)

    def _join_known(self, a: Node | None, b: Node | None) -> Node | None:
        return self.join(a, b) if a is not None and b is not None else b if a is None else a

    def split(self, node: Node, count: int) -> bool:
        """Splits a population into groups; False where it is made of others already."""
        flags = self._flags[self.find(node)]
        if flags.split is None:
            flags.split = Split(count)
        return flags.split.count == count

    def heads(self, node: Node) -> Node | None:
        """The population of the groups that neurons were split into: heads, from now on."""
        flags = self._flags[self.find(node)]
        split = flags.split
        assert split is not None
        if split.heads is None and split.each is None:
            split.heads = self.new(f"{flags.name}.heads", split.count, pinned=flags.pinned)
            self._flags[split.heads].are_heads = True
        return split.heads

    def each(self, node: Node, count: int) -> Node | None:
        """The neurons of each of some maps side by side; None where these are something else."""
        flags = self._flags[self.find(node)]
        if not self.split(node, count) or (flags.split and flags.split.heads is not None):
            return None
        split = flags.split
        assert split is not None
        if split.each is None:
            split.each = self.new(
                flags.name, flags.size // count, pinned=flags.pinned, is_input=flags.is_input
            )
            self._flags[split.each].is_output = flags.is_output
        return split.each

    def decided(self, node: Node) -> tuple[Node | None, Node | None]:
        """The heads of a population or the neurons of its maps, where it is known which."""
        split = self._flags[self.find(node)].split
        return (None, None) if split is None else (split.heads, split.each)

    def num_groups(self, node: Node) -> int:
        """Number of groups that neurons were split into."""
        split = self._flags[self.find(node)].split
        return 1 if split is None else split.count

    def stiffen(self, node: Node) -> None:
        """Records that the order of these neurons matters inside of each head."""
        split = self._flags[self.find(node)].split
        assert split is not None
        split.is_rigid = True

    def is_rigid(self, node: Node) -> bool:
        """Whether the order of these neurons matters inside of each head."""
        split = self._flags[self.find(node)].split
        return split is not None and split.is_rigid

    def are_heads(self, node: Node) -> bool:
        """Whether these are the heads of other neurons."""
        return self._flags[self.find(node)].are_heads

    def follow(self, heads: Node, leaders: Node) -> None:
        """Records that runs of heads go along with fewer heads."""
        flags = self._flags[self.find(heads)]
        flags.leaders = self._join_known(flags.leaders, leaders)
        if flags.pinned:
            self.pin([leaders])

    def leaders(self, heads: Node) -> Node:
        """The heads that these go along with in runs, or else themselves."""
        leaders = self._flags[self.find(heads)].leaders
        return self.find(heads if leaders is None else leaders)

    def new_rigid(self, name: str, size: int, heads: Node) -> Node:
        """A population made of heads that there are, each in its order."""
        node = self.new(name, size)
        self._flags[node].split = Split(self.size(heads), heads, is_rigid=True)
        return node

    def parts(self, node: Node) -> list[tuple[Node | None, int]]:
        """A population as axes: maps side by side, and the neurons of each."""
        root = self.find(node)
        _, each = self.decided(root)
        if each is None:
            return [(root, self.size(root))]
        return [(None, self.num_groups(root)), *self.parts(each)]

    def pin(self, nodes: Iterable[Node]) -> None:
        """Records that the order of these neurons matters."""
        for node in nodes:
            flags = self._flags[self.find(node)]
            if not flags.pinned:
                flags.pinned = True
                self.pin(n for n in (*self.decided(node), flags.leaders) if n is not None)

    def mark_input(self, node: Node) -> None:
        """Records that these count inputs of the network: positions, words."""
        self._flags[self.find(node)].is_input = True

    def mark_side(self, nodes: Iterable[Node]) -> None:
        """Records that these are the inputs or outputs of a map, and no positions."""
        for node in nodes:
            self._flags[self.find(node)].is_side = True

    def is_side(self, node: Node) -> bool:
        """Whether these are the inputs or outputs of a map."""
        return self._flags[self.find(node)].is_side

    def mark_output(self, nodes: Iterable[Node]) -> None:
        """Records that these neurons are the network's outputs."""
        for node in nodes:
            self._flags[self.find(node)].is_output = True
            self.mark_output(n for n in self.decided(node)[1:] if n is not None)

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
        yield owner if owner.startswith(f"{name}:") else f"{name}:{owner}"
    yield from (f"{name}:{i}" for i in count(2))
