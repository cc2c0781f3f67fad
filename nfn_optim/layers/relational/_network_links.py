"""Where the entries of one network are in a pack, and what they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import numpy as np
import torch

from ...symmetry import NetworkSpec, SpecError
from .._groups import GROUPS
from ._links import Half, Link
from ._roles import NUM_ROLES, ParameterAxes, Roles, roles_of

WEIGHTS, VECTORS = 0, 1
Kind = tuple[ParameterAxes, ...]
Sorted = Callable[[ParameterAxes, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class NetworkLinks:
    """Links between the tables of one network.

    Tables of entries and of parameters have a section for weights and one for vectors, with
    parameters in the order of `Roles`, and entries in that of the spec's axes.
    """

    spec: NetworkSpec

    @cached_property
    def roles(self) -> Roles:
        """The network's neurons."""
        return roles_of(self.spec)

    @cached_property
    def kinds(self) -> tuple[Kind, Kind]:
        """Weights, and vectors."""
        parameters, count = self.roles.parameters, self.roles.num_weights
        return parameters[:count], parameters[count:]

    @cached_property
    def sizes(self) -> tuple[list[int], list[int]]:
        """Entries of each weight, and of each vector."""
        weights, vectors = ([prod(self.spec.shapes[p.name]) for p in k] for k in self.kinds)
        return weights, vectors

    @cached_property
    def num_entries(self) -> int:
        """Entries of all parameters."""
        return sum(map(sum, self.sizes))

    @cached_property
    def slot_sizes(self) -> tuple[int, int, int]:
        """How many outputs of weights, inputs of weights and outputs of vectors there are."""
        sizes, (weights, vectors) = self.roles.sizes, self.kinds
        return (
            sum(sizes[p.out] for p in weights),
            sum(sizes[p.source] for p in weights if p.source is not None),
            sum(sizes[p.out] for p in vectors),
        )

    @cached_property
    def slots(self) -> Link:
        """Entries to slots.

        These are the outputs of weights, the inputs of weights, the outputs of vectors, and what
        has taps: pairs of neurons, or neurons.
        """
        there = [
            self._half([WEIGHTS], _by_output),
            self._half([WEIGHTS], _by_input),
            self._half([VECTORS], _by_output),
            self._half([WEIGHTS, VECTORS], _by_taps),
        ]
        return Link.of_sources(there, [*map(sum, self.sizes)])

    @cached_property
    def owners(self) -> Link:
        """Slots to neurons and to parameters.

        A neuron has a row for each of its roles, one behind the other. Inputs of a weight belong to
        no parameter: what a parameter has is its outputs'.
        """
        weights, vectors = self.kinds
        sources = [p.source for p in weights if p.source is not None]
        back = [
            self._carried(0, [p.out for p in weights], WEIGHTS),
            self._carried(1, sources, None),
            self._carried(2, [p.out for p in vectors], VECTORS),
        ]
        neurons = NUM_ROLES * sum(self.roles.sizes)
        return Link.of_targets(back, [neurons, len(weights), len(vectors)])

    @cached_property
    def entries(self) -> Link:
        """Entries to parameters."""
        back = [
            _once(np.repeat(np.arange(len(sizes)), sizes), i) for i, sizes in enumerate(self.sizes)
        ]
        return Link.of_targets(back, [*map(len, self.kinds)])

    @cached_property
    def networks(self) -> Link:
        """Parameters to the network, which has a row for weights and one for vectors."""
        back = [_once(np.full(len(kind), place), 0) for place, kind in enumerate(self.kinds)]
        return Link.of_targets(back, [len(self.kinds)])

    @cached_property
    def groups(self) -> Link:
        """Parameters to the groups that `NetworkPool` averages."""
        back = []
        for kind in self.kinds:
            own = [[g for g, has in enumerate(GROUPS) if has(self.spec, p.name)] for p in kind]
            rows = np.array([g for groups in own for g in groups], dtype=int)
            back.append(
                Half.of(rows, np.zeros(1, dtype=int), np.array([*map(len, own)], dtype=int))
            )
        return Link.of_targets(back, [len(GROUPS)])

    def _half(self, kinds: Sequence[int], by: Sorted) -> Half:
        """Sources of slots: what `by` makes of every parameter's entries, `(slots, each)`."""
        rows, sections, counts = [], [], []
        for kind in kinds:
            start = 0
            for parameter, size in zip(self.kinds[kind], self.sizes[kind], strict=True):
                own = by(parameter, self._places(parameter) + start)
                rows.append(own.ravel())
                sections.append(np.full(own.size, kind))
                counts.append(np.full(own.shape[0], own.shape[1]))
                start += size
        return Half.of(*map(_flat, (rows, sections, counts)))

    def _places(self, parameter: ParameterAxes) -> np.ndarray:
        """Entries of a parameter, numbered as the spec has them, with axes as `Roles` has them."""
        name, shape = parameter.name, self.spec.shapes[parameter.name]
        places = torch.arange(prod(shape)).reshape(shape)
        if self.roles.spec is not self.spec:
            places = self.roles.spec.view(name, self.spec.unview(name, places))
        return places.numpy()

    def _carried(self, role: int, populations: Sequence[int], kind: int | None) -> Half:
        """Targets of slots in `owners`, whose neurons are of these populations."""
        sizes = [self.roles.sizes[population] for population in populations]
        starts = np.cumsum([0, *self.roles.sizes])
        neurons = _flat([np.arange(starts[p], starts[p + 1]) for p in populations])
        rows = NUM_ROLES * neurons + role
        if kind is None:
            return _once(rows, 0)
        owners = np.repeat(np.arange(len(sizes)), np.array(sizes, dtype=int))
        both = np.stack([rows, owners], 1)
        return Half.of(both, np.array([0, 1 + kind]), np.full(len(rows), 2))


@lru_cache(maxsize=512)
def links_of(spec: NetworkSpec) -> NetworkLinks:
    """The links of a network; remembered.

    Raises:
        SpecError: If a parameter runs over three populations or more, or has no entries.
    """
    links = NetworkLinks(spec)
    _ = links.roles  # refuses
    for name, shape in spec.shapes.items():
        if 0 in shape:
            raise SpecError(
                f"parameter {name!r} has no entries, its shape is {shape}. Leave it out."
            )
    return links


def _by_output(parameter: ParameterAxes, places: np.ndarray) -> np.ndarray:
    return places.reshape(len(places), -1)


def _by_input(parameter: ParameterAxes, places: np.ndarray) -> np.ndarray:
    return _by_output(parameter, places.swapaxes(0, 1))


def _by_taps(parameter: ParameterAxes, places: np.ndarray) -> np.ndarray:
    """Nothing where a parameter has no taps."""
    if not parameter.taps:
        return places[:0].reshape(0, 1)
    return places.reshape(prod(places.shape[: -parameter.taps]), -1)


def _once(rows: np.ndarray, kind: int) -> Half:
    """Rows that belong to one other each."""
    return Half.of(rows, np.array([kind]), np.ones(len(rows), dtype=int))


def _flat(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=int), *parts])
