"""Directions along which a matrix's gradients are large: what they are, and smaller steps there.

Activations have a mean, errors have a few patterns that outweigh the others, and gradients are
large along these few directions at every step. A polar factor sees one momentum, in which it makes
all directions alike. What is remembered here is which of them are steep on the whole. The polar
factor is taken where these directions are made shorter, and brought back: with `D` for the inputs
and `E` for the outputs, `E polar(E M D) D`. Directions are followed by one step of subspace
iteration with each momentum, as eigenvectors of the mean of `M^T M` and of `M M^T`, each momentum
at the norm 1.

Shapes: matrices `(b, n, m)` with outputs first, `k` directions on either side, no more than rows or
columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .constants import LEAST_NEW, RIDGE, STEEP_DECAY, STEEP_EXPONENT, TINY


@dataclass(frozen=True)
class Steep:
    """Directions along which the momenta of matrices are large, as long as their share of these.

    Attributes:
        outputs: `(b, n, k)`; directions that are not known yet are zero.
        inputs: `(b, m, k)`.
    """

    outputs: Tensor
    inputs: Tensor

    def damped(self, matrices: Tensor) -> Tensor:
        """Matrices that are smaller along the directions.

        An average direction has `1 / m` of all, and stays as it is, as do those that have less.
        """
        directions, changes = _changes(self.inputs)
        found = torch.baddbmm(matrices, (matrices @ directions) * changes, directions.mT)
        directions, changes = _changes(self.outputs)
        return torch.baddbmm(found, directions * changes, directions.mT @ found)

    def followed(self, momenta: Tensor, step: Tensor) -> Steep:
        """The directions after one more momentum.

        Those that are not known yet begin as the largest rows and columns of the momentum.

        Args:
            momenta: It, of each matrix.
            step: How many there are with it `(b)`.
        """
        squares = momenta.square()
        rows, columns = squares.sum(-1), squares.sum(-2)
        unit = 1 / (rows.sum(-1) + TINY)
        rate = (1 / step).clamp(min=1 - STEEP_DECAY).to(unit.dtype)
        return Steep(
            _followed(self.outputs, momenta.mT, columns, unit, rate),
            _followed(self.inputs, momenta, rows, unit, rate),
        )


def _changes(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Directions `(b, m, k)`, and what is left of steps along each, less one, `(b, 1, k)`."""
    directions, shares = _split(vectors)
    factors = (shares * vectors.shape[-2]).clamp(min=1) ** -STEEP_EXPONENT
    return directions, (factors - 1).unsqueeze(-2)


def _followed(
    inputs: Tensor, momenta: Tensor, squares: Tensor, unit: Tensor, rate: Tensor
) -> Tensor:
    """Directions of inputs after one more momentum.

    Args:
        inputs: Before it `(b, m, k)`.
        momenta: It `(b, n, m)`.
        squares: Their sums over its rows `(b, n)`.
        unit: What makes the sum of all one `(b)`.
        rate: Its weight among all `(b)`.
    """
    directions, shares = _split(inputs)
    order = squares.argsort(dim=-1, descending=True, stable=True)[:, : inputs.shape[-1]]
    rows = momenta.gather(1, order.unsqueeze(-1).expand(-1, -1, momenta.shape[-1]))
    directions = torch.where((shares > 0).unsqueeze(-2), directions, _split(rows.mT)[0])
    seen = momenta.mT @ (momenta @ directions)
    return _orthogonal((1 - rate)[:, None, None] * inputs + (rate * unit)[:, None, None] * seen)


def _orthogonal(vectors: Tensor) -> Tensor:
    """Vectors `(b, m, k)` without what is along those before; what has nothing new becomes zero."""
    directions, lengths = _split(vectors)
    exact = directions.double() if vectors.device.type == "cpu" else directions
    ridge = RIDGE * torch.eye(lengths.shape[-1], dtype=exact.dtype, device=exact.device)
    factor, _ = torch.linalg.cholesky_ex(exact.mT @ exact + ridge)
    found = torch.linalg.solve_triangular(factor, exact.mT, upper=False).mT
    new = factor.diagonal(dim1=-2, dim2=-1).to(lengths.dtype)
    kept = torch.where(new > LEAST_NEW, lengths * new, 0.0)
    return found.to(vectors.dtype) * kept.unsqueeze(-2)


def _split(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Directions `(b, m, k)` and lengths `(b, k)` of vectors; zeros stay zeros."""
    lengths = torch.linalg.vector_norm(vectors, dim=-2)
    tiny = torch.finfo(lengths.dtype).tiny
    return vectors / lengths.clamp(min=tiny).unsqueeze(-2), lengths
