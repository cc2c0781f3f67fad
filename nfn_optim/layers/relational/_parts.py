"""The pieces that `SharedNPLinear` works on: slices of parameters, their means, and terms to add.

Channels come first here, `(c, *batch, *axes)`: entries are the fast axis, which suits few channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._roles import ParameterAxes


@dataclass(frozen=True)
class Slice:
    """Features of some or all outputs of one parameter, and their means over taps.

    Attributes:
        entries: `(c, *b, *axes)`.
        matrix: `(c, *b, *neurons)`; the entries themselves where there are no taps.
    """

    entries: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, parameter: ParameterAxes, x: Tensor) -> Slice:
        """Averages over taps, as a product since the axis is short."""
        if not parameter.taps:
            return cls(x, x)
        columns = x.flatten(-parameter.taps)
        weights = x.new_full((columns.shape[-1],), 1 / columns.shape[-1])
        return cls(x, columns @ weights)


@dataclass(frozen=True)
class Means:
    """Means of one parameter's features: per output `(c, *b, out)` and per input `(c, *b, in)`."""

    rows: Tensor
    cols: Tensor | None

    @classmethod
    def of(cls, parameter: ParameterAxes, part: Slice) -> Means:
        """Pools a slice."""
        if parameter.source is None:
            return cls(part.matrix, None)
        return cls(_mean(part.matrix, -1), _mean(part.matrix, -2))

    @classmethod
    def join(cls, parts: Sequence[Means]) -> Means:
        """The means of a parameter from those of its slices along the output axis."""
        if len(parts) == 1:
            return parts[0]
        rows, cols = torch.cat([part.rows for part in parts], -1), None
        for part in parts:
            if part.cols is not None:
                share = part.rows.shape[-1] / rows.shape[-1]
                cols = part.cols * share if cols is None else cols.add(part.cols, alpha=share)
        return cls(rows, cols)


def _mean(x: Tensor, dim: int) -> Tensor:
    """As `x.mean(dim)`, whose adjoint would divide every entry instead of every mean."""
    return x.sum(dim) / x.shape[dim]


@dataclass(frozen=True)
class Terms:
    """What is added to one parameter: `(o, *b, out)` an output and `(o, *b, in)` an input."""

    rows: Tensor
    cols: Tensor | None

    def split(self, size: int) -> list[Terms]:
        """For slices of `size` along the output axis."""
        if size >= self.rows.shape[-1]:
            return [self]
        return [Terms(rows, self.cols) for rows in self.rows.split(size, -1)]


def add_terms(parameter: ParameterAxes, part: Slice, terms: Terms) -> Tensor:
    """Adds terms and mapped means over taps to entries `(o, *b, *axes)`, in place."""
    matrix, rows = part.matrix, terms.rows
    matrix.add_(rows if parameter.source is None else rows.unsqueeze(-1))
    if terms.cols is not None:
        matrix.add_(terms.cols.unsqueeze(-2))
    if not parameter.taps:
        return matrix
    return part.entries.add_(matrix.reshape(matrix.shape + (1,) * parameter.taps))
