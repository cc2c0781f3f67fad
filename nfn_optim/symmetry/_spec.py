"""The symmetry of a network, as data: which population of neurons every parameter axis runs over.

Neurons of one population may be renumbered together without changing the network's function.
Everything else in the library (layers, pooling, permutations, encodings, the tracer) reads this
description instead of knowing about architectures.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from ._checks import SpecError, check_axes, check_heads, check_roles, check_storage, read_sizes
from ._heads import Heads
from ._matrices import Matrices
from ._storage import Labels, Shape, Storage
from .tracer import Description, describe_failure, trace


@dataclass(frozen=True, init=False, eq=False)
class NetworkSpec:
    """Labels every parameter axis with its population of neurons, or None where order has meaning.

    `spec.np()` and `spec.hnp()` are the two groups of the paper (section 2.1): NP permutes every
    population, HNP leaves the network's inputs and outputs fixed. They differ only in `fixed`.

    Args:
        axes: Labels per parameter, e.g. `{"0.weight": ("h1", "in"), "0.bias": ("h1",)}`. A matrix
            lists its output axis first, as `nn.Linear` and `nn.Conv2d` store it; kernel taps are
            None.
        shapes: Size of every labelled axis, in the same order.
        io: Populations that are the network's inputs or outputs.
        pinned: Hidden populations whose order matters, because something that the spec does not
            describe (grouped channels, a concatenation) reads or writes their neurons.
        fixed: Populations not permuted by the group at hand (empty: NP; `io` and `pinned`: HNP).
        stored: Shape in the module's state dict where it differs from `shapes` (a Linear after
            Flatten is stored as `(out, channels * positions)`).
        orders: Which axis of the storage each axis is, where they are not in the same order (a
            ConvTranspose stores its inputs first); `shapes` and `axes` are in the new order.
        heads: Populations that are made of equal groups, which are renumbered as a whole.
        maps: Along which unlabelled axis a parameter is several maps side by side, rather than the
            taps of one (the gates of an LSTM, queries, keys and values in one tensor).
        tables: Parameters that are looked up by row (an Embedding, whose inputs are its rows).

    Raises:
        SpecError: If names disagree, sizes of one population differ, heads do not divide their
            population, or a stored shape holds another number of entries.

    Example:
        >>> spec = NetworkSpec(
        ...     {"w": ("out", "in"), "b": ("out",)}, {"w": (3, 2), "b": (3,)}, io=("in", "out")
        ... )
        >>> spec.hnp().labels("w")
        (None, None)
    """

    axes: Mapping[str, Labels]
    shapes: Mapping[str, Shape]
    io: frozenset[str]
    pinned: frozenset[str]
    fixed: frozenset[str]
    stored: Mapping[str, Shape]
    orders: Mapping[str, Shape]
    heads: Mapping[str, Heads]
    maps: Mapping[str, int]
    tables: frozenset[str]

    def __init__(
        self,
        axes: Mapping[str, Sequence[str | None]],
        shapes: Mapping[str, Sequence[int]],
        *,
        io: Collection[str] = (),
        pinned: Collection[str] = (),
        fixed: Collection[str] = (),
        stored: Mapping[str, Sequence[int]] | None = None,
        orders: Mapping[str, Sequence[int]] | None = None,
        heads: Mapping[str, Heads] | None = None,
        maps: Mapping[str, int] | None = None,
        tables: Collection[str] = (),
    ) -> None:
        set_field = object.__setattr__
        set_field(self, "axes", {name: tuple(labels) for name, labels in axes.items()})
        set_field(self, "shapes", {name: tuple(shape) for name, shape in shapes.items()})
        set_field(self, "io", frozenset(io))
        set_field(self, "heads", dict(heads or {}))
        set_field(self, "pinned", frozenset(pinned) | self._numberings({*io, *pinned}))
        set_field(self, "fixed", frozenset(fixed) | self._numberings(fixed))
        full = {name: tuple((stored or {}).get(name, shape)) for name, shape in shapes.items()}
        set_field(self, "stored", full)
        set_field(self, "orders", {name: tuple(order) for name, order in (orders or {}).items()})
        set_field(self, "maps", dict(maps or {}))
        set_field(self, "tables", frozenset(tables))
        set_field(self, "_sizes", self._checked_sizes())
        storage = {n: Storage(full[n], s, self.orders.get(n)) for n, s in self.shapes.items()}
        set_field(self, "_storage", {n: s for n, s in storage.items() if not s.is_plain})

    @classmethod
    def from_module(cls, module: nn.Module) -> NetworkSpec:
        """Reads the spec off a module; see `nfn_optim.symmetry.tracer` for what is understood.

        Raises:
            SpecError: Naming the submodule that cannot be read and what to do instead.
        """
        found = trace(module)
        if not found.description.axes:
            raise SpecError(describe_failure(module, found))
        return cls.from_description(found.description)

    @classmethod
    def from_description(cls, description: Description) -> NetworkSpec:
        """The spec of what the tracer has read."""
        return cls(**vars(description))

    def np(self) -> NetworkSpec:
        """The same network under the NP group: every population is permuted."""
        return self._with_fixed(frozenset())

    def hnp(self) -> NetworkSpec:
        """The same network under the HNP group: inputs, outputs and pinned neurons stay."""
        return self._with_fixed(self.io | self.pinned)

    def labels(self, name: str) -> Labels:
        """Labels of one parameter under the group at hand: fixed populations read as None."""
        return tuple(None if label in self.fixed else label for label in self.axes[name])

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in order."""
        return tuple(self.axes)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Number of neurons in every population."""
        return MappingProxyType(self._sizes)  # type: ignore[attr-defined]

    @property
    def populations(self) -> tuple[str, ...]:
        """Populations that the group at hand permutes, in order of appearance."""
        return tuple(label for label in self.sizes if label not in self.fixed)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of parameters with two axes or more, in order."""
        return tuple(name for name in self.names if len(self.axes[name]) > 1)

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of parameters with one axis or none (biases, gains), in order."""
        return tuple(name for name in self.names if len(self.axes[name]) <= 1)

    @property
    def num_entries(self) -> int:
        """Number of scalars in the weight space, dim(U) in the paper."""
        return sum(prod(shape) for shape in self.shapes.values())

    def view(self, name: str, tensor: Tensor) -> Tensor:
        """`(*batch, *stored)` as `(*batch, *axes)`, without copying where the tensor allows it."""
        storage = self._storage.get(name)  # type: ignore[attr-defined]
        return tensor if storage is None else storage.view(tensor)

    def unview(self, name: str, tensor: Tensor) -> Tensor:
        """`(*batch, *axes)` as `(*batch, *stored)`, the inverse of `view`."""
        storage = self._storage.get(name)  # type: ignore[attr-defined]
        return tensor if storage is None else storage.unview(tensor)

    def matrices(self, name: str) -> Matrices | None:
        """One parameter as a stack of matrices: one a head, a gate, a group.

        Outputs are rows. Inputs are columns, together with kernel taps. None for a vector: a
        parameter that runs over one population or none, and has no taps.
        """
        heads, maps = self.heads, self.maps.get(name)
        return Matrices.of(self.axes[name], self.shapes[name], heads, maps)

    def subset(self, names: Iterable[str]) -> NetworkSpec:
        """The spec of some of the parameters only, in the order of this spec."""
        kept = set(names)
        axes = {n: a for n, a in self.axes.items() if n in kept}
        present = {label for labels in axes.values() for label in labels}
        heads = {label: group for label, group in self.heads.items() if label in present}
        present |= {group.numbering for group in heads.values()}
        return NetworkSpec(
            axes,
            {n: s for n, s in self.shapes.items() if n in kept},
            io=self.io & present,
            pinned=self.pinned & present,
            fixed=self.fixed & present,
            stored={n: s for n, s in self.stored.items() if n in kept},
            orders={n: o for n, o in self.orders.items() if n in kept},
            heads=heads,
            maps={n: axis for n, axis in self.maps.items() if n in kept},
            tables=self.tables & kept,
        )

    def same_network(self, other: NetworkSpec) -> bool:
        """Whether both describe the same parameters and populations, whatever the group."""
        return list(self.axes.items()) == list(other.axes.items()) and self.shapes == other.shapes

    def _with_fixed(self, fixed: frozenset[str]) -> NetworkSpec:
        return self if fixed == self.fixed else replace(self, fixed=fixed)

    def _numberings(self, labels: Iterable[str]) -> frozenset[str]:
        """Populations of heads that cannot be renumbered where these populations cannot."""
        return frozenset(self.heads[label].numbering for label in labels if label in self.heads)

    def _checked_sizes(self) -> dict[str, int]:
        check_axes(self.axes, self.shapes)
        for name, shape in self.shapes.items():
            check_storage(name, self.stored[name], shape, self.orders.get(name))
        sizes = read_sizes(self.axes, self.shapes)
        check_heads(self.heads, sizes)
        check_roles(self.maps, self.tables, self.axes)
        known = {*sizes, *(group.numbering for group in self.heads.values())}
        for label in sorted((self.io | self.pinned | self.fixed) - known):
            raise SpecError(f"population {label!r} is in io, pinned or fixed but labels no axis.")
        return sizes

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        """All that tells two specs apart."""
        ordered = (self.axes, self.shapes, self.stored, self.orders)
        others = (frozenset(table.items()) for table in (self.heads, self.maps))
        sets = (self.io, self.pinned, self.fixed, self.tables)
        return (*(tuple(table.items()) for table in ordered), *others, *sets)

    @cached_property
    def _hash(self) -> int:
        """Computed once, since caches look specs up at every step."""
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, NetworkSpec) and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        """All but the hash, which is another one in another process."""
        return {name: value for name, value in vars(self).items() if name != "_hash"}

    def __repr__(self) -> str:
        lines = [f"  {n}: {self.labels(n)} {self.shapes[n]}" for n in self.names]
        lines += [f"  {label}: {group}" for label, group in self.heads.items()]
        return "NetworkSpec(\n" + "\n".join(lines) + "\n)"
