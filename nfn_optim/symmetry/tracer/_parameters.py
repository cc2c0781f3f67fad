"""What every parameter's axes run over, as layers claim it, and the description made of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .._heads import Heads
from ._populations import Axes, Node, Populations, Shape


@dataclass(frozen=True)
class _Claim:
    """How one parameter's storage runs over populations.

    Attributes:
        axes: Its storage, split into axes.
        roles: Which of them are its outputs and its inputs, in this order.
        maps: Which of them counts several maps side by side.
        is_table: Whether it is looked up by row.
        is_custom: Whether forward code uses it as a tensor, so that nothing tells outputs.
    """

    axes: Axes
    roles: Shape
    maps: int | None
    is_table: bool
    is_custom: bool


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


@dataclass(frozen=True)
class _Layout:
    """One parameter as a spec describes it, with nodes for labels."""

    axes: tuple[Node | None, ...]
    shape: Shape
    order: Shape
    maps: int | None


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
        is_custom: bool = False,
    ) -> None:
        """Records over which populations a parameter's axes run.

        A second claim (a layer called twice, tied weights) joins the populations axis by axis.

        Args:
            name: The parameter.
            axes: Its storage, split into axes.
            roles: The populations in the spec's order: outputs, then inputs.
            maps: Which of the axes counts several maps side by side, if one does.
            is_table: Whether the parameter is looked up by row.
            is_custom: Whether forward code uses it as a tensor: populations that nothing else runs
                over are then positions.
        """
        found: list[int] = []
        for role in roles:
            at = (axis for axis, (node, _) in enumerate(axes) if node == role)
            found.append(next(axis for axis in at if axis not in found))
        claim = _Claim(axes, tuple(found), maps, is_table, is_custom)
        known = self._claims.setdefault(name, claim)
        same = [size for _, size in known.axes] == [size for _, size in axes]
        if not same:
            self.drop(name, "is shared by layers that read it in different ways")
            self._populations.pin(roles)
            return
        self._claims[name] = replace(
            known,
            is_table=known.is_table or is_table,
            is_custom=known.is_custom and is_custom,
        )
        for (a, _), (b, _) in zip(known.axes, axes, strict=True):
            if a is not None and b is not None:
                self._populations.join(a, b)
            else:
                self._populations.pin(node for node in (a, b) if node is not None)

    def drop(self, name: str, reason: str) -> None:
        """Leaves a parameter out of the spec; the neurons it touches keep their order."""
        self.reasons.setdefault(name, reason)

    def nodes(self, name: str) -> Iterator[Node]:
        """Populations that a claimed parameter runs over."""
        if name in self._claims:
            yield from (node for node, _ in self._claims[name].axes if node is not None)

    def describe(self) -> Description:
        """All claimed parameters, in the module's order."""
        self._place_custom()
        for name in self.reasons:
            self._populations.pin(self.nodes(name))
        populations = self._populations
        kept = [n for n in self._shapes if n in self._claims and n not in self.reasons]
        found = {name: self._layout(self._claims[name]) for name in kept}
        nodes = {n for layout in found.values() for n in layout.axes if n is not None}
        roots = nodes | self._numberings(nodes)
        label = populations.labels(roots)
        return Description(
            {n: tuple(x if x is None else label[x] for x in f.axes) for n, f in found.items()},
            {n: f.shape for n, f in found.items()},
            io=frozenset(label[n] for n in roots if populations.is_io(n)),
            pinned=frozenset(label[n] for n in roots if populations.is_pinned(n)),
            stored={n: self._shapes[n] for n in kept},
            orders={n: f.order for n, f in found.items() if f.order != tuple(range(len(f.order)))},
            heads={label[n]: h for n in nodes if (h := self._heads(n, label)) is not None},
            maps={n: f.maps for n, f in found.items() if f.maps is not None},
            tables=frozenset(n for n in kept if self._claims[n].is_table),
        )

    def _numberings(self, nodes: Iterable[Node]) -> set[Node]:
        """Populations of heads; what keeps its order in heads that keep theirs is pinned."""
        populations, found = self._populations, set[Node]()
        for node in nodes:
            heads, _ = populations.decided(node)
            if heads is None:
                continue
            leaders = populations.leaders(heads)
            found.add(leaders)
            if populations.is_rigid(node) and populations.is_ordered(leaders):
                populations.pin([node])
        return found

    def _heads(self, node: Node, label: Mapping[Node, str]) -> Heads | None:
        populations = self._populations
        heads, _ = populations.decided(node)
        if heads is None:
            if populations.leaders(node) == node:
                return None
            leaders = populations.leaders(node)  # a parameter of heads that go along with others
            return Heads(populations.size(leaders), label[leaders], is_rigid=True)
        leaders, count = populations.leaders(heads), populations.num_groups(node)
        run = count // populations.size(leaders)
        return Heads(count, label[leaders], run, populations.is_rigid(node))

    def _layout(self, claim: _Claim) -> _Layout:
        """A claim in the order of a spec, with populations that are maps side by side apart."""
        pieces: list[tuple[int, Node | None, int]] = []  # axis of the storage, population, size
        for axis, (node, size) in enumerate(claim.axes):
            parts = [(None, size)] if node is None else self._populations.parts(node)
            pieces += [(axis, *part) for part in parts]
        wanted = [*claim.roles, *range(len(claim.axes))]
        order = sorted(
            range(len(pieces)),
            key=lambda i: wanted.index(pieces[i][0]) if pieces[i][1] is not None else len(wanted),
        )
        of = claim.maps if claim.maps is not None else next(iter(claim.roles), None)
        maps = [at for at, i in enumerate(order) if pieces[i][0] == of and pieces[i][1] is None]
        return _Layout(
            tuple(pieces[i][1] for i in order),
            tuple(pieces[i][2] for i in order),
            tuple(order),
            maps[0] if maps else None,
        )

    def _place_custom(self) -> None:
        """Populations of custom parameters that are no neurons become positions, or no population.

        A matrix whose rows no other parameter knows (positions, learned queries) is a table.
        """
        find, populations = self._populations.find, self._populations

        def ordered(node: Node) -> bool:
            return populations.is_ordered(node) and not populations.is_side(node)

        count = Counter(find(node) for name in self._claims for node in self.nodes(name))
        for name, claim in self._claims.items():
            if not claim.is_custom or len(claim.roles) < 2:
                continue
            own = [node is not None and count[find(node)] == 1 for node, _ in claim.axes]
            alone = [mine and ordered(n or 0) for mine, (n, _) in zip(own, claim.axes, strict=True)]
            named = [axis for axis, (node, _) in enumerate(claim.axes) if node is not None]
            if len(named) == 2 and [own[axis] for axis in named] == [True, False]:
                rows, columns = named
                if alone[rows]:
                    self._populations.mark_input(claim.axes[rows][0] or 0)
                self._claims[name] = replace(claim, roles=(columns, rows), is_table=True)
                continue
            axes = [(None if alone[i] else n, size) for i, (n, size) in enumerate(claim.axes)]
            roles = tuple(axis for axis in named if not alone[axis])
            self._claims[name] = replace(claim, axes=axes, roles=roles)
            if len(roles) > 2:
                self.drop(name, "is a custom parameter of three populations or more")
