"""Entries of packed networks in native code: sums over what they belong to, and products.

Shape legend: `c` input and `o` output channels.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import Expected, Library, check, dense, fit, pointer, pointers, table

__all__ = ["LIBRARY", "Entries"]

LIBRARY = Library(Path(str(files(__package__))) / "packed.cpp")


class _Task(ctypes.Structure):
    """`Task` of `packed.cpp`."""

    _fields_ = (
        ("pieces", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("threads", ctypes.c_int64),
        ("runs", ctypes.c_void_p),
    )


@dataclass(frozen=True, eq=False)
class Entries:
    """Entries in tables `(entries, channels)`, and the slots that they belong to.

    Tables are those that `fit`. They have entries of weights first, then of vectors, which another
    matrix maps. Runs are those of the weights of each table, and then those of the vectors of each.
    No two tables have a slot in common, and nor have weights and vectors.

    Attributes:
        sizes: Entries of weights and of vectors in each table.
        counts: Runs of weights and of vectors in each table.
        runs: Entries one after another, `(runs, 7)`, int32: how many they are, up to three slots of
            the first (or -1), and how far these move from one entry to the next.
        num_slots: How many slots there are.
    """

    sizes: Sequence[tuple[int, int]]
    counts: Sequence[tuple[int, int]]
    runs: Tensor
    num_slots: int

    def fit(self, tables: Sequence[Tensor], channels: int) -> bool:
        """Whether native code knows these tables, `(entries, channels)`."""
        return fit(tables, [Expected("", (sum(size), channels)) for size in self.sizes])

    def sum(self, tables: Sequence[Tensor]) -> Tensor:
        """Sums of the entries of each slot, `(slots, c)`."""
        width, laid = tables[0].shape[1], list(map(dense, tables))
        sums = _zeros(self.num_slots, width)
        LIBRARY.call(
            "nfn_pool",
            self._task(),
            _table(laid),
            ctypes.c_int64(width),
            ctypes.c_void_p(pointer(sums)),
        )
        return sums

    def map(
        self, tables: Sequence[Tensor], weight: Tensor, vector: Tensor, terms: Tensor
    ) -> list[Tensor]:
        """Products of entries `(entries, c)` with matrices `(c, o)`, plus terms `(slots, o)`.

        Raises:
            ValueError: If matrices or terms are not that, in float32.
        """
        laid = list(map(dense, tables))
        (c, o), named = weight.shape, {"weight": weight, "vector": vector, "terms": terms}
        shapes = (c, o), (c, o), (self.num_slots, o)
        check([*named.values()], [*map(Expected, named, shapes)])
        weight, vector, terms = map(dense, named.values())
        results = [tensor.new_empty(len(tensor), o) for tensor in tables]
        LIBRARY.call(
            "nfn_map",
            self._task(),
            _table(laid),
            ctypes.c_int64(c),
            _table([weight, vector]),
            ctypes.c_void_p(pointer(terms)),
            ctypes.c_int64(o),
            _table(results),
        )
        return results

    def map_back(
        self, adjoints: Sequence[Tensor], tables: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """From adjoints of results to those of terms, and to the transposed ones of matrices."""
        given, laid = list(map(dense, adjoints)), list(map(dense, tables))
        c, o = laid[0].shape[1], given[0].shape[1]
        terms, weight, vector = _zeros(self.num_slots, o), _zeros(o, c), _zeros(o, c)
        LIBRARY.call(
            "nfn_map_back",
            self._task(),
            _table(given),
            ctypes.c_int64(o),
            _table(laid),
            ctypes.c_int64(c),
            ctypes.c_void_p(pointer(terms)),
            _table([weight, vector]),
        )
        return terms, weight, vector

    @cached_property
    def _pieces(self) -> array[int]:
        """`Piece`s of `packed.cpp`."""
        numbers, first = array("q"), 0
        for kind in range(2):
            for place, (sizes, counts) in enumerate(zip(self.sizes, self.counts, strict=True)):
                numbers.extend((place, kind * sizes[0], sizes[kind], first, counts[kind], kind))
                first += counts[kind]
        return numbers

    def _task(self) -> Any:
        """`Task` there."""
        pieces, _ = self._pieces.buffer_info()
        task = _Task(pieces, 2 * len(self.sizes), torch.get_num_threads(), pointer(self.runs))
        return ctypes.byref(task)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float32, device="cpu")


def _table(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_char]:
    return table(pointers(tensors))
