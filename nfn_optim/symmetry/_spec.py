"""The symmetry of a network, as data: which population of neurons every parameter axis runs over.

Neurons of one population may be renumbered together without changing the network's function.
Everything else in the library (layers, pooling, permutations, encodings, the tracer) reads this
description instead of knowing about architectures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from ._storage import Shape, Storage
from .tracer import Description, describe_failure, trace

Labels = tuple[str | None, ...]


class SpecError(ValueError):
    """A network's symmetry could not be described, or tensors do not match the description."""


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
            describe (attention, grouped channels, a concatenation) reads or writes their neurons.
        fixed: Populations not permuted by the group at hand (empty: NP; `io` and `pinned`: HNP).
        stored: Shape in the module's state dict where it differs from `shapes` (a Linear after
            Flatten is stored as `(out, channels * positions)`).
        orders: Which axis of the storage each axis is, where they are not in the same order (a
            ConvTranspose stores its inputs first); `shapes` and `axes` are in the new order.

    Raises:
        SpecError: If names disagree, sizes of one population differ, a parameter carries one
            population twice, or a stored shape holds another number of entries.

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

    def __init__(
        self,
        axes: Mapping[str, Sequence[str | None]],
        shapes: Mapping[str, Sequence[int]],
        *,
        io: Iterable[str] = (),
        pinned: Iterable[str] = (),
        fixed: Iterable[str] = (),
        stored: Mapping[str, Sequence[int]] | None = None,
        orders: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        set_field = object.__setattr__
        set_field(self, "axes", {name: tuple(labels) for name, labels in axes.items()})
        set_field(self, "shapes", {name: tuple(shape) for name, shape in shapes.items()})
        set_field(self, "io", frozenset(io))
        set_field(self, "pinned", frozenset(pinned))
        set_field(self, "fixed", frozenset(fixed))
        full = {name: tuple((stored or {}).get(name, shape)) for name, shape in shapes.items()}
        set_field(self, "stored", full)
        set_field(self, "orders", {name: tuple(order) for name, order in (orders or {}).items()})
        self._check()
        storage = {n: Storage(full[n], s, self.orders.get(n)) for n, s in self.shapes.items()}
        set_field(self, "_storage", {n: s for n, s in storage.items() if not s.is_plain})
        set_field(self, "_sizes", self._read_sizes())

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

    def subset(self, names: Iterable[str]) -> NetworkSpec:
        """The spec of some of the parameters only, in the order of this spec."""
        kept = set(names)
        axes = {n: a for n, a in self.axes.items() if n in kept}
        present = {label for labels in axes.values() for label in labels}
        return NetworkSpec(
            axes,
            {n: s for n, s in self.shapes.items() if n in kept},
            io=self.io & present,
            pinned=self.pinned & present,
            fixed=self.fixed & present,
            stored={n: s for n, s in self.stored.items() if n in kept},
            orders={n: o for n, o in self.orders.items() if n in kept},
        )

    def same_network(self, other: NetworkSpec) -> bool:
        """Whether both describe the same parameters and populations, whatever the group."""
        return list(self.axes.items()) == list(other.axes.items()) and self.shapes == other.shapes

    def _with_fixed(self, fixed: frozenset[str]) -> NetworkSpec:
        if fixed == self.fixed:
            return self
        return NetworkSpec(
            self.axes,
            self.shapes,
            io=self.io,
            pinned=self.pinned,
            fixed=fixed,
            stored=self.stored,
            orders=self.orders,
        )

    def _check(self) -> None:
        if set(self.axes) != set(self.shapes):
            odd = sorted(set(self.axes) ^ set(self.shapes))
            raise SpecError(f"parameters {odd} have labels or a shape, but not both. Give both.")
        for name, labels in self.axes.items():
            shape, stored = self.shapes[name], self.stored[name]
            if len(labels) != len(shape):
                raise SpecError(
                    f"parameter {name!r} has labels {labels} but shape {shape}: one label an axis."
                )
            named = [label for label in labels if label is not None]
            if len(set(named)) != len(named):
                raise SpecError(
                    f"parameter {name!r} carries one population on two axes: {labels}. "
                    "Give one axis a label of its own, or leave the parameter out."
                )
            order = self.orders.get(name, tuple(range(len(shape))))
            if prod(stored) != prod(shape) or sorted(order) != list(range(len(shape))):
                raise SpecError(
                    f"parameter {name!r} is stored as {stored}, which cannot be viewed as {shape} "
                    f"in axis order {order}."
                )

    def _read_sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name, labels in self.axes.items():
            for label, size in zip(labels, self.shapes[name], strict=True):
                if label is not None and sizes.setdefault(label, size) != size:
                    raise SpecError(
                        f"population {label!r} has {sizes[label]} neurons, but parameter {name!r} "
                        f"gives it {size}. Use another label."
                    )
        for label in sorted((self.io | self.pinned | self.fixed) - set(sizes)):
            raise SpecError(f"population {label!r} is in io, pinned or fixed but labels no axis.")
        return sizes

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        """All that tells two specs apart."""
        tables = (self.axes, self.shapes, self.stored, self.orders)
        return (*(tuple(t.items()) for t in tables), self.io, self.pinned, self.fixed)

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
        return "NetworkSpec(\n" + "\n".join(lines) + "\n)"
