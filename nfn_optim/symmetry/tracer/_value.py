"""What is known of a tensor in a network's forward pass, without running it.

No inputs are at hand, so shapes are unknown. Axes are counted from the back (-1 is the last), where
layers agree on their neurons: a Linear writes to axis -1, a Conv2d to axis -3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ._populations import Node


class Part(Enum):
    """What of a population an axis runs over, where a view has split it into equal groups."""

    WHOLE = "all neurons"
    OUTER = "the groups"
    INNER = "the neurons of one group"


@dataclass(frozen=True)
class Axis:
    """A tensor axis that runs over neurons.

    An axis that was flattened from several runs over (positions before, neurons, positions after).
    How many positions there are is only known where a layer reads the axis.
    """

    node: Node
    before: bool = False
    after: bool = False
    part: Part = Part.WHOLE

    @property
    def is_plain(self) -> bool:
        """Whether the axis runs over all neurons and nothing else."""
        return self.part is Part.WHOLE and not (self.before or self.after)


@dataclass(frozen=True)
class Value:
    """A tensor: what moves along which axis when neurons are renumbered; nothing else moves.

    Attributes:
        axes: Axes that run over neurons.
        rank: Number of axes where known.
        shape: Shape where known: of buffers, parameters and numbers.
        source: The network's input that this is, perhaps reshaped.
        lost: Neurons that this was made of, where their axis is no more; outputs if this is one.
        ones: Axes that have size one after a reduction.
        guesses: What was taken for granted of its axes, until a layer reads its neurons.
    """

    axes: Mapping[int, Axis] = field(default_factory=dict)
    rank: int | None = None
    shape: tuple[int, ...] | None = None
    source: Node | None = None
    lost: frozenset[Node] = frozenset()
    ones: frozenset[int] = frozenset()
    guesses: frozenset[int] = frozenset()

    @property
    def nodes(self) -> frozenset[Node]:
        """All neurons that this tensor shows."""
        return frozenset(axis.node for axis in self.axes.values())

    def is_one(self, axis: int) -> bool:
        """Whether the tensor certainly broadcasts along an axis."""
        if axis in self.ones:
            return True
        if self.shape is not None:
            return -axis > len(self.shape) or self.shape[axis] == 1
        return self.rank is not None and -axis > self.rank

    def has_one(self, axis: int) -> bool:
        """Whether the tensor certainly has such an axis, of size one."""
        known = self.shape is not None and -axis <= len(self.shape) and self.shape[axis] == 1
        return known or axis in self.ones

    def locate(self, dim: object) -> int | None:
        """A dimension counted from the back, whichever way it is given; None if unknown."""
        if not isinstance(dim, int):
            return None
        if dim < 0:
            return dim
        return None if self.rank is None or dim >= self.rank else dim - self.rank


NUMBER = Value(rank=0, shape=())


@dataclass(frozen=True)
class ParameterRef:
    """A parameter that forward code uses directly."""

    name: str

    @property
    def owner(self) -> str:
        """The layer that this belongs to."""
        layer, _, computed = self.name.partition(".parametrizations.")
        return layer if computed else self.name.rpartition(".")[0] or self.name


@dataclass(frozen=True)
class Sizes:
    """`x.shape` of a tensor, perhaps without its last axes."""

    of: Value
    without: int = 0


@dataclass(frozen=True)
class Size:
    """A size that is not known: of the batch or of something else, and how many times it."""

    is_batch: bool = False
    times: int = 1


@dataclass(frozen=True)
class Several:
    """Several tensors about which the same is known: the result of `chunk`, or a state tuple."""

    item: Value


@dataclass(frozen=True)
class Stacked:
    """Tensors one upon the other along a new first axis: the last states of several layers."""

    items: tuple[Value, ...]


Lookup = Callable[[str], ParameterRef | Value | None]  # a module's own parameter by name


def values_in(tree: object) -> list[Value]:
    """All tensors in nested arguments."""
    if isinstance(tree, Value):
        return [tree]
    if isinstance(tree, Several):
        return [tree.item]
    if isinstance(tree, Stacked):
        return list(tree.items)
    return [value for item in _items(tree) for value in values_in(item)]


def parameters_in(tree: object) -> list[ParameterRef]:
    """All parameters in nested arguments."""
    if isinstance(tree, ParameterRef):
        return [tree]
    return [parameter for item in _items(tree) for parameter in parameters_in(item)]


def _items(tree: object) -> Iterable[object]:
    if isinstance(tree, Mapping):
        return tree.values()
    if isinstance(tree, slice):
        return (tree.start, tree.stop, tree.step)
    return tree if isinstance(tree, (list, tuple)) else ()
