"""`SharedNPLinear` on packed networks in native code, and the way back through it.

Shape legend: `c` input and `o` output channels.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import Expected, Library, check, dense, fit, pointer, pointers, table

__all__ = ["LIBRARY", "Network", "Networks"]

LIBRARY = Library(Path(str(files(__package__))) / "packed.cpp")
_WEIGHTS = ("entry", "vector", "taps", "own", "neurons", "network")


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
        ends = [*accumulate(map(len, tables), initial=0)]
        rows = [_starts(sizes[a:b, :2]) for a, b in zip(ends, ends[1:], strict=False)]
        columns = [
            np.concatenate(rows),
            _starts(sizes[:, 6:]),
            np.array([[network.neurons] for network in networks]),
            _starts(np.array([[len(network.runs)] for network in networks])),
            _starts(np.array([[len(network.shares)] for network in networks])),
            sizes,
            np.array([network.counts for network in networks]),
        ]
        blocks = [
            (a, b - a, int(sizes[a:b, :2].sum())) for a, b in zip(ends, ends[1:], strict=False)
        ]
        return cls(
            torch.tensor(blocks),
            torch.from_numpy(np.concatenate(columns, 1).astype(np.int64)),
            torch.from_numpy(np.concatenate([network.runs for network in networks])),
            torch.from_numpy(np.concatenate([network.shares for network in networks])),
            int(sizes[:, 6:].sum()),
        )

    def fit(self, tables: Sequence[Tensor], channels: int) -> bool:
        """Whether native code knows these tables, `(entries, channels)`."""
        return fit(tables, [Expected("", (size, channels)) for size in self.blocks[:, 2].tolist()])

    def map(
        self, tables: Sequence[Tensor], weights: Sequence[Tensor], given: Tensor
    ) -> list[Tensor]:
        """The layer on tables `(entries, c)`, which fit: `(entries, o)`.

        Args:
            tables: One for each block.
            weights: `entry`, `vector` and `taps` `(o, c)`, `own` `(2, o, c)`, `neurons`
                `(3 o, 3 c)` and `network` `(2, o, 3 c)`.
            given: What else is added to the entries of each parameter, `(parameters, o)`.

        Raises:
            ValueError: If weights or `given` are not that, in float32.
        """
        laid, (o, c) = list(map(dense, tables)), weights[0].shape
        weights, given = self._checked(weights, given)
        results = [tensor.new_empty(len(tensor), o) for tensor in tables]
        LIBRARY.call(
            "nfn_packed",
            self._task(),
            _table(laid),
            ctypes.c_int64(c),
            _table(weights),
            ctypes.c_void_p(pointer(given)),
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
        """From adjoints of results to those of weights, of `given`, and of tables if wanted."""
        given, laid = list(map(dense, adjoints)), list(map(dense, tables))
        c, o = laid[0].shape[1], given[0].shape[1]
        of_weights = [torch.zeros(weight.shape) for weight in weights]
        of_given = torch.empty(self.num_parameters, o)
        of_tables = [x.new_empty(x.shape) for x in laid] if with_tables else []
        weights, _ = self._checked(weights, of_given)
        LIBRARY.call(
            "nfn_packed_back",
            self._task(),
            _table(given),
            ctypes.c_int64(o),
            _table(laid),
            ctypes.c_int64(c),
            _table(weights),
            _table(of_weights),
            ctypes.c_void_p(pointer(of_given)),
            _table(of_tables) if with_tables else None,
        )
        return of_weights, of_given, of_tables or [None] * len(laid)

    def _checked(self, weights: Sequence[Tensor], given: Tensor) -> tuple[list[Tensor], Tensor]:
        """Weights and `given` as native code reads them."""
        o, c = weights[0].shape
        shapes = (o, c), (o, c), (o, c), (2, o, c), (3 * o, 3 * c), (2, o, 3 * c)
        expected = [Expected(*each) for each in zip(_WEIGHTS, shapes, strict=True)]
        check([*weights, given], [*expected, Expected("given", (self.num_parameters, o))])
        return list(map(dense, weights)), dense(given)

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
