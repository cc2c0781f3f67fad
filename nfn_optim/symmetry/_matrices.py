"""Parameters as stacks of matrices: one a head, a gate, a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from ._heads import Heads
from ._storage import Labels, Shape, Storage

_BLOCK, _ROW, _COLUMN = range(3)  # what an axis, or a part of one, runs over


@dataclass(frozen=True)
class Matrices:
    """Views a parameter as matrices that each map some inputs to some outputs, and back.

    Attributes:
        blocks: Number of matrices.
        rows: Outputs of each.
        columns: Inputs of each, times kernel taps.
        splits: Into how many blocks each axis of the parameter is cut.
    """

    blocks: int
    rows: int
    columns: int
    splits: Shape
    _parts: Storage

    @classmethod
    def of(
        cls, labels: Labels, shape: Shape, heads: Mapping[str, Heads], maps: int | None
    ) -> Matrices | None:
        """Of a parameter; None for a vector: no two of its axes are longer than one.

        A depthwise kernel, which runs over one population, is one matrix with a row a channel.
        Several vectors side by side (biases of gates) are no matrix.

        Args:
            labels: Populations along its axes, outputs first.
            shape: Sizes of its axes.
            heads: Populations that are made of heads.
            maps: The axis along which it is several maps, if there is one.
        """
        named = [axis for axis, label in enumerate(labels) if label is not None]
        rest = prod([size for axis, size in enumerate(shape) if axis not in (*named[:1], maps)])
        if not named or (len(named) < 2 and rest == 1):
            return None
        parts: list[tuple[int, int]] = []
        for axis, (label, size) in enumerate(zip(labels, shape, strict=True)):
            blocks = heads[label].count if label is not None and label in heads else 1
            blocks, rest = (size, 1) if axis == maps else (blocks, size // blocks)
            parts += [(_BLOCK, blocks), (_ROW if axis == named[0] else _COLUMN, rest)]
        order = tuple(sorted(range(len(parts)), key=lambda part: parts[part][0]))
        blocks, rows, columns = [prod([n for role, n in parts if role == i]) for i in range(3)]
        splits = tuple(n for role, n in parts if role == _BLOCK)
        storage = Storage(shape, tuple(parts[part][1] for part in order), order)
        return cls(blocks, rows, columns, splits, storage)

    def view(self, tensor: Tensor) -> Tensor:
        """`(*batch, *axes)` as `(*batch, blocks, rows, columns)`, a view where strides allow it."""
        parts = self._parts.view(tensor)
        lead = parts.shape[: parts.dim() - len(self._parts.shape)]
        return parts.reshape(*lead, self.blocks, self.rows, self.columns)

    def unview(self, tensor: Tensor) -> Tensor:
        """`(*batch, blocks, rows, columns)` as `(*batch, *axes)`, the inverse of `view`."""
        return self._parts.unview(tensor.reshape(*tensor.shape[:-3], *self._parts.shape))
