"""`SharedNPLinear` on packed networks in native code, and the way back through it.

Shape legend: `c` input and `o` output channels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import Expected, Library, check, dense, fit, pointer, pointers, table

__all__ = ["LIBRARY", "Network", "Networks"]

LIBRARY = Library(Path(str(files(__package__))) / "packed.cpp")


@dataclass(frozen=True, eq=False)
class Network:
    """What belongs together in one network.

    Entries belong to slots, slots to owners, and parameters to the network, which has a row for
    weights and one for vectors. Owners are neurons, three rows each for their roles, and then
    parameters. Sections are: entries of weights and of vectors; slots as outputs of weights, inputs
    of weights, outputs of vectors and of what has taps; weights and vectors.

    Attributes:
        neurons: How many there are.
        sizes: Rows of each section.
        counts: Runs of each section.
        runs: Rows one after another, `(runs, 7)`, int32: how many they are, up to three rows that
            the first one belongs to (or -1), and how far these move from one row to the next.
        shares: What a row counts in the mean of each slot, of each owner, and of both kinds.
    """

    neurons: int
    sizes: Sequence[int]
    counts: Sequence[int]
    runs: np.ndarray
    shares: np.ndarray


class _Task(ctypes.Structure):
    """`Task` of `packed.cpp`."""

    _fields_ = (
        ("blocks", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("threads", ctypes.c_int64),
        ("numbers", ctypes.c_void_p),
        ("runs", ctypes.c_void_p),
        ("shares", ctypes.c_void_p),
    )


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks whose entries are in tables `(entries, channels)`: first those of all weights.

    Attributes:
        blocks: First network, networks and entries of each table, `(tables, 3)`.
        numbers: `Numbers` of `network.h`, a row for each network.
        runs: Those of all networks.
        shares: Likewise.
        num_parameters: Of all networks; of these, weights come first, too.
    """

    blocks: Tensor
    numbers: Tensor
    runs: Tensor
    shares: Tensor
    num_parameters: int

    @classmethod
    def of(cls, tables: Sequence[Sequence[Network]]) -> Networks:
        """Those of each table."""
        networks = [network for own in tables for network in own]
        sizes = np.array([network.sizes for network in networks], dtype=np.int64)
        counts = np.array([network.counts for network in networks], dtype=np.int64)
        others = [(len(own.runs), len(own.shares), own.neurons) for own in networks]
        runs, shares, neurons = np.array(others, dtype=np.int64).T[..., None]
        ends = [*accumulate(map(len, tables), initial=0)]
        blocks = [(a, b - a, sizes[a:b, :2].sum()) for a, b in pairwise(ends)]
        rows = np.concatenate([_starts(sizes[a:b, :2]) for a, b in pairwise(ends)])
        parameters = _starts(sizes[:, 6:])
        numbers = [rows, parameters, neurons, _starts(runs), _starts(shares), sizes, counts]
        return cls(
            torch.from_numpy(np.array(blocks, dtype=np.int64)),
            torch.from_numpy(np.concatenate(numbers, 1)),
            torch.from_numpy(np.concatenate([network.runs for network in networks])),
            torch.from_numpy(np.concatenate([network.shares for network in networks])),
            int(sizes[:, 6:].sum()),
        )

    def fit(self, tables: Sequence[Tensor], channels: int) -> bool:
        """Whether native code knows these tables, `(entries, channels)`."""
        return fit(tables, self._tables("", channels))

    def map(
        self, tables: Sequence[Tensor], weights: Sequence[Tensor], given: Tensor
    ) -> list[Tensor]:
        """The layer on tables `(entries, c)`: tables `(entries, o)`.

        Args:
            tables: One for each block.
            weights: `entry`, `vector` and `taps` `(o, c)`, `own` `(2, o, c)`, `neurons`
                `(3 o, 3 c)` and `network` `(2, o, 3 c)`.
            given: What else is added to the entries of each parameter, `(parameters, o)`.

        Raises:
            ValueError: If one of them is not that, in float32.
        """
        o, c = weights[0].shape
        check([*tables, *weights, given], [*self._tables("table", c), *self._weights(c, o)])
        laid, (*maps, terms) = list(map(dense, tables)), map(dense, [*weights, given])
        results = [x.new_empty(len(x), o) for x in laid]
        LIBRARY.call(
            "nfn_packed",
            self._task(),
            _table(laid),
            ctypes.c_int64(c),
            _table(maps),
            ctypes.c_void_p(pointer(terms)),
            ctypes.c_int64(o),
            _table(results),
        )
        return results

    def map_back(
        self,
        adjoints: Sequence[Tensor],
        tables: Sequence[Tensor],
        weights: Sequence[Tensor],
        *,
        with_tables: bool,
    ) -> tuple[list[Tensor], Tensor, list[Tensor | None]]:
        """From adjoints of results to those of weights, of `given`, and of tables if wanted.

        Raises:
            ValueError: As of `map`.
        """
        o, c = weights[0].shape
        of_weights = [x.new_zeros(x.shape) for x in weights]
        of_given = weights[0].new_empty(self.num_parameters, o)
        expected = [*self._tables("adjoint", o), *self._tables("table", c), *self._weights(c, o)]
        check([*adjoints, *tables, *weights, of_given], expected)
        given, laid, maps = (list(map(dense, each)) for each in (adjoints, tables, weights))
        of_tables = [x.new_empty(x.shape) for x in laid] if with_tables else []
        LIBRARY.call(
            "nfn_packed_back",
            self._task(),
            _table(given),
            ctypes.c_int64(o),
            _table(laid),
            ctypes.c_int64(c),
            _table(maps),
            _table(of_weights),
            ctypes.c_void_p(pointer(of_given)),
            _table(of_tables) if with_tables else None,
        )
        return of_weights, of_given, [*of_tables] or [None] * len(laid)

    def _tables(self, name: str, channels: int) -> list[Expected]:
        sizes = self.blocks[:, 2].tolist()
        return [Expected(f"{name} {i}", (size, channels)) for i, size in enumerate(sizes)]

    def _weights(self, c: int, o: int) -> list[Expected]:
        """Those of a layer, and `given`."""
        return [
            *(Expected(name, (o, c)) for name in ("entry", "vector", "taps")),
            Expected("own", (2, o, c)),
            Expected("neurons", (3 * o, 3 * c)),
            Expected("network", (2, o, 3 * c)),
            Expected("given", (self.num_parameters, o)),
        ]

    def _task(self) -> Any:
        """`Task` there."""
        places = map(pointer, (self.numbers, self.runs, self.shares))
        task = _Task(pointer(self.blocks), len(self.blocks), torch.get_num_threads(), *places)
        return ctypes.byref(task)


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Where each begins, `(networks, sections)`: all networks of a section, then of the next."""
    flat = sizes.T.ravel()
    return (flat.cumsum() - flat).reshape(sizes.shape[::-1]).T


def _table(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_char]:
    return table(pointers(tensors))
