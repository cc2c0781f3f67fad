"""Where the entries of one network are in a pack, and what they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from math import prod

import numpy as np
import torch

from ...native.packed import Network
from ...symmetry import NetworkSpec, SpecError
from .._groups import GROUPS
from ._links import Half, Link
from ._roles import NUM_ROLES, ParameterAxes, Roles, roles_of

WEIGHTS, VECTORS = 0, 1
SECTIONS = [0, 1, 3], [2, 1, 3]  # of slots: those of weights, and of vectors, which have no inputs
_NONE = np.zeros((0, 7), dtype=np.int32)  # runs
Kind = tuple[ParameterAxes, ...]


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
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """The slots of each entry of weights, and of vectors, `(entries, 3)`.

        These are slots as an output, as an input and among taps, each counted in its section; -1
        where an entry has none.
        """
        found: list[list[np.ndarray]] = [[np.zeros((0, 3), dtype=np.int32)] for _ in self.kinds]
        starts = np.zeros(4, dtype=np.int32)
        for kind, parameters in enumerate(self.kinds):
            sections = SECTIONS[kind]
            for parameter in parameters:
                own = self._slots(parameter)
                found[kind].append(moved(own, starts[sections]))
                starts[sections] += own.max(0) + 1
        weights, vectors = map(np.concatenate, found)
        return weights, vectors

    @cached_property
    def slots(self) -> Link:
        """Entries to slots.

        These are the outputs of weights, the inputs of weights, the outputs of vectors, and what
        has taps: pairs of neurons, or neurons.
        """
        back = []
        for table, sections in zip(self.tables, SECTIONS, strict=True):
            has = table >= 0
            back.append(Half.of(table[has], np.broadcast_to(sections, has.shape)[has], has.sum(1)))
        return Link.of_targets(back, [*map(len, self.slot_counts)])

    @cached_property
    def slot_counts(self) -> tuple[np.ndarray, ...]:
        """Entries of each slot, by section."""
        (outs, ins, taps), (of_vectors, _, more) = (table.T for table in self.tables)
        columns = outs, ins, of_vectors, np.concatenate([taps, more])
        return tuple(np.bincount(column[column >= 0]) for column in columns)

    @cached_property
    def native(self) -> Network:
        """What belongs together, as native code has it."""
        weights, vectors = self.kinds
        sizes = self.roles.sizes
        carriers = np.array(
            [[len(own[p]) for own in self.roles.carriers] for p in range(len(sizes))], dtype=int
        )
        of_neurons = carriers.reshape(-1, NUM_ROLES).repeat(sizes, 0).ravel()
        of_parameters = [sizes[p.out] for p in (*weights, *vectors)]
        kinds = [len(weights), len(vectors)]
        counts = np.concatenate([*self.slot_counts, of_neurons, of_parameters, kinds])
        runs = [*self._entry_runs(), *self._slot_runs(), *_runs_of_kinds(kinds)]
        return Network(
            sum(sizes),
            [*map(sum, self.sizes), *map(len, self.slot_counts), *kinds],
            [*map(len, runs)],
            np.concatenate(runs, dtype=np.int32),
            (1 / counts.clip(min=1)).astype(np.float32),
        )

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

    def _slots(self, parameter: ParameterAxes) -> np.ndarray:
        """The part of `tables` of one parameter, whose slots are counted by themselves."""
        places = self._places(parameter)
        neurons = places.shape[: places.ndim - parameter.taps]
        none = np.full(neurons, -1)
        out, *source = np.indices(neurons)
        taps = np.arange(none.size).reshape(neurons) if parameter.taps else none
        own = np.stack([out, source[0] if source else none, taps], -1).reshape(-1, 1, 3)
        table = np.empty((places.size, 3), dtype=np.int32)
        table[places.reshape(len(own), -1)] = own
        return table

    def _entry_runs(self) -> list[np.ndarray]:
        """Entries one after another whose slots move evenly, such as the rows of a matrix.

        Returns:
            Those of weights, and of vectors, `(runs, 7)` as in `Network`.
        """
        starts = np.cumsum([0, *map(len, self.slot_counts[:-1])])
        found: list[np.ndarray] = []
        for kind, parameters in enumerate(self.kinds):
            table, runs = moved(self.tables[kind], starts[SECTIONS[kind]]), [_NONE]
            ends = np.cumsum(self.sizes[kind], dtype=int)
            for parameter, slots in zip(parameters, np.split(table, ends), strict=False):
                length = self._run_length(parameter)
                each = slots.reshape(-1, length, 3)
                first, second = each[:, 0], each[:, min(1, length - 1)]
                count = np.full((len(each), 1), length)
                runs.append(np.concatenate([count, first, second - first], 1))
            found.append(np.concatenate(runs))
        return found

    def _slot_runs(self) -> list[np.ndarray]:
        """The same for slots of each section, whose owners are in the order of `owners`."""
        sizes, (weights, vectors) = self.roles.sizes, self.kinds
        starts = NUM_ROLES * np.cumsum([0, *sizes])
        first = starts[-1]  # of parameters
        outs = [(p.out, first + i) for i, p in enumerate(weights)]
        ins = [(p.source, -1) for p in weights if p.source is not None]
        of_vectors = [(p.out, first + len(weights) + i) for i, p in enumerate(vectors)]
        step = NUM_ROLES
        runs = [
            [(sizes[p], starts[p] + role, owner, -1, step, 0, 0) for p, owner in carried]
            for role, carried in enumerate((outs, ins, of_vectors))
        ]
        taps = [(len(self.slot_counts[-1]), -1, -1, -1, 0, 0, 0)]
        return [np.array(own, dtype=int).reshape(-1, 7) for own in (*runs, taps)]

    def _run_length(self, parameter: ParameterAxes) -> int:
        """Entries along the last axis, or along all taps behind the last neuron."""
        name = parameter.name
        axes = zip(self.spec.axes[name], self.spec.shapes[name], strict=True)
        long = [(label, size) for label, size in axes if size > 1][::-1]
        if long and long[0][0] is not None:
            return long[0][1]
        return prod(size for _, size in takewhile(lambda axis: axis[0] is None, long))

    def _places(self, parameter: ParameterAxes) -> np.ndarray:
        """Entries of a parameter, numbered as the spec has them, with axes as `Roles` has them."""
        name, shape = parameter.name, self.spec.shapes[parameter.name]
        places = torch.arange(prod(shape), device="cpu").reshape(shape)
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


def moved(slots: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Slots `(..., 3)` counted from elsewhere; -1 stays."""
    return np.where(slots < 0, slots, slots + by)


def _runs_of_kinds(counts: Sequence[int]) -> list[np.ndarray]:
    """Parameters of each kind, which belong to a row of the network."""
    return [np.array([[n, kind, -1, -1, 0, 0, 0]]) for kind, n in enumerate(counts)]


def _once(rows: np.ndarray, kind: int) -> Half:
    """Rows that belong to one other each."""
    return Half.of(rows, np.array([kind]), np.ones(len(rows), dtype=int))


def _flat(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=int), *parts])
