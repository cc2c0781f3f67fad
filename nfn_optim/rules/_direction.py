"""Where steps point: the polar factor of a matrix's momentum, and Adam's direction for all else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..symmetry import Matrices, NetworkSpec
from .constants import LARGEST_POLAR, OBLONG_STEPS, POLAR_COEFFICIENTS, SQUARE_STEPS, TINY


@dataclass(frozen=True)
class Spectral:
    """The polar factor for matrices, as in Muon; Adam's direction for all other tensors.

    A parameter that is several matrices (one a head, a gate, a group) gets the polar factor of
    each.

    Attributes:
        largest: Longest shorter side of the matrices that a polar factor is worth computing for.
    """

    largest: int = LARGEST_POLAR

    def matrices(self, spec: NetworkSpec) -> Mapping[str, Matrices]:
        """Parameters that get polar factors, and the matrices that they are made of."""
        return _read(spec, self) if torch.compiler.is_compiling() else _remembered(spec, self)

    def __call__(self, spec: NetworkSpec, momenta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Directions of momenta `(*batch, *axes)`, like them; none of those that are Adam's."""
        directions = {}
        for name, matrices in self.matrices(spec).items():
            if name in momenta:
                polar = polar_factor(matrices.view(momenta[name]))
                directions[name] = matrices.unview(polar)
        return directions


def _read(spec: NetworkSpec, direction: Spectral) -> dict[str, Matrices]:
    found = ((name, spec.matrices(name)) for name in spec.names)
    return {
        name: matrices
        for name, matrices in found
        if matrices is not None and min(matrices.rows, matrices.columns) <= direction.largest
    }


_remembered = lru_cache(maxsize=256)(_read)


def polar_factor(matrix: Tensor) -> Tensor:
    """`matrix` `(*batch, n, m)` with all singular values near `sqrt(max(n, m))`: entries near 1.

    It commutes with every rotation of rows and columns, so with every permutation. Five quintic
    Newton-Schulz steps as in Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), which
    bring singular values from a thousandth of the norm upwards to within a third of the target.
    Of an oblong matrix they are mostly worked out on its shorter side squared.
    """
    rows, columns = matrix.shape[-2:]
    short = matrix if rows <= columns else matrix.mT
    x = short.reshape(-1, *short.shape[-2:])  # (b, n, m), n <= m
    x = x * torch.rsqrt((x * x).sum((-2, -1), keepdim=True) + TINY)
    for steps in OBLONG_STEPS if max(rows, columns) > 2 * min(rows, columns) else SQUARE_STEPS:
        factor, change = _polynomial(x @ x.mT, steps)
        x = torch.baddbmm(x, change, x, beta=factor)
    x = (x * math.sqrt(max(rows, columns))).view(short.shape)
    return x if rows <= columns else x.mT


def _polynomial(gram: Tensor, steps: int) -> tuple[float, Tensor]:
    """`factor` and `change` `(b, n, n)` with which steps make `factor X + change X` of `X`.

    `gram` is `X X^T`. One step makes `a X + S X` with `S = b gram + c gram^2`.
    """
    a, b, c = POLAR_COEFFICIENTS
    factor, change = a, torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    step = change
    for _ in range(steps - 1):
        gram = torch.baddbmm(gram, step, gram, beta=a)
        gram = torch.baddbmm(gram, gram, step, beta=a)
        step = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        change = torch.baddbmm(change.add(step, alpha=factor / a), step, change, beta=a)
        factor = factor * a
    return factor, change
