"""The polar factor of a matrix: the one feature of a gradient that is not of single entries."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_POLAR = 128  # shorter side of matrices whose polar factor is worth its products
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_TINY = 1e-24


def polar_factor(matrix: Tensor) -> Tensor:
    """`matrix` `(*batch, n, m)` with all singular values near `sqrt(max(n, m))`: entries near 1.

    It commutes with every rotation of rows and columns, so with every permutation. Five quintic
    Newton-Schulz steps as in Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), which
    bring singular values from a thousandth of the norm upwards to within a third of the target.
    """
    a, b, c = _COEFFICIENTS
    rows, columns = matrix.shape[-2:]
    x = matrix if rows <= columns else matrix.mT
    x = x * torch.rsqrt((x * x).sum((-2, -1), keepdim=True) + _TINY)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x * math.sqrt(max(rows, columns))
    return x if rows <= columns else x.mT
