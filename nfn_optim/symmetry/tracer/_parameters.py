"""What every parameter's axes run over, as layers claim it, and the description made of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .._heads import Heads
from ._populations import Axes, Node, Populations, Shape


@dataclass
class _Claim:
    """How one parameter's storage runs over populations."""

    axes: Axes
    stored: Shape
    order: Shape
    maps: int | None
    is_table: bool


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
        heads: Populations that are made of equal groups.
        maps: Along which axis a parameter is several maps.
        tables: Parameters that are looked up by row.
    """

    axes: Mapping[str, tuple[str | None, ...]]
    shapes: Mapping[str, Shape]
    io: frozenset[str]
    pinned: frozenset[str]
    stored: Mapping[str, Shape]
    orders: Mapping[str, Shape]
    heads: Mapping[str, Heads]
    maps: Mapping[str, int]
    tables: frozenset[str]


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

    def claim(
        self,
        name: str,
        axes: Axes,
        roles: Sequence[Node],
        *,
        maps: int | None = None,
        is_table: bool = False,
    ) -> None:
        """Records over which populations a parameter's axes run.

        A second claim (a layer called twice, tied weights) joins the populations axis by axis.

        Args:
            name: The parameter.
            axes: Its storage, split into axes.
            roles: The populations in the spec's order: outputs, then inputs.
            maps: Which of the axes counts several maps side by side, if one does.
            is_table: Whether the parameter is looked up by row.
        """
        first: list[int] = []
        for role in roles:
            at = (axis for axis, (node, _) in enumerate(axes) if node == role)
            first.append(next(axis for axis in at if axis not in first))
        order = (*first, *(axis for axis, (node, _) in enumerate(axes) if node is None))
        claim = _Claim(axes, self._shapes[name], order, maps, is_table)
        known = self._claims.setdefault(name, claim)
        same = [size for _, size in known.axes] == [size for _, size in axes]
        if not same or (known.order, known.maps) != (order, maps):
            self.drop(name, "is shared by layers that read it in different ways")
            self._populations.pin(roles)
            return
        known.is_table |= is_table
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
        for name in self.reasons:
            self._populations.pin(self.nodes(name))
        kept = {n: self._claims[n] for n in self._shapes if self._is_kept(n)}
        populations = self._populations
        nodes = {populations.find(node) for name in kept for node in self.nodes(name)}
        label = populations.labels(nodes)
        axes, shapes, orders, maps = {}, {}, {}, {}
        for name, claim in kept.items():
            ordered = [claim.axes[axis] for axis in claim.order]
            axes[name] = tuple(
                None if n is None else label[populations.find(n)] for n, _ in ordered
            )
            shapes[name] = tuple(size for _, size in ordered)
            if claim.order != tuple(range(len(claim.order))):
                orders[name] = claim.order
            if claim.maps is not None:
                maps[name] = claim.order.index(claim.maps)
        return Description(
            axes,
            shapes,
            io=frozenset(label[n] for n in nodes if populations.is_io(n)),
            pinned=frozenset(label[n] for n in nodes if populations.is_pinned(n)),
            stored={name: claim.stored for name, claim in kept.items()},
            orders=orders,
            heads={},
            maps=maps,
            tables=frozenset(name for name, claim in kept.items() if claim.is_table),
        )

    def _is_kept(self, name: str) -> bool:
        return name in self._claims and name not in self.reasons
