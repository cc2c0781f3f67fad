"""Polar factors of matrices: all singular values near one size, singular vectors as they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from .constants import POLAR_COEFFICIENTS, POLAR_STEPS, TINY


def polar_factor(matrix: Tensor) -> Tensor:
    """`matrix` `(*batch, n, m)` with all singular values near `sqrt(max(n, m))`: entries near 1.

    It commutes with every rotation of rows and columns, so with every permutation. Five quintic
    Newton-Schulz steps as in Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), which
    bring singular values from a thousandth of the norm upwards to within a third of the target.
    Of an oblong matrix they are all worked out on its shorter side squared. On a GPU single
    precision becomes bfloat16.
    """
    rows, columns = matrix.shape[-2:]
    short = matrix if rows <= columns else matrix.mT
    x = short.reshape(-1, *short.shape[-2:])  # (b, n, m), n <= m
    x = x * torch.rsqrt((x * x).sum((-2, -1), keepdim=True) + TINY)
    is_coarse = x.is_cuda and x.dtype == torch.float32
    x = x.bfloat16() if is_coarse else x
    at_once = POLAR_STEPS if 2 * x.shape[1] <= x.shape[2] and not is_coarse else 1
    for _ in range(POLAR_STEPS // at_once):
        factor, change = _polynomial(x @ x.mT, at_once)
        x = torch.baddbmm(x, change, x, beta=factor)
    x = (x.to(short.dtype) * math.sqrt(max(rows, columns))).view(short.shape)
    return x if rows <= columns else x.mT


def banded_polar_factor(matrices: Tensor, bands: int) -> Tensor:
    """Polar factors of bands of the rows of each of `matrices` `(b, n, m)`, `n <= m`, like them.

    Rows are dealt into bands in turn, in the order of their norms. So what is in a band is the same
    wherever the rows stand, and each band has large rows and small ones. It commutes with
    permutations as long as no two rows have the same norm.
    """
    if bands == 1:
        return polar_factor(matrices)
    rows = matrices.shape[1]
    norms = torch.linalg.vector_norm(matrices, dim=-1, dtype=torch.float64)
    order = norms.argsort(dim=-1, descending=True, stable=True)
    starts = rows * torch.arange(len(order), device=order.device)
    index = (order + starts.unsqueeze(-1)).flatten()
    ordered = matrices.flatten(0, 1).index_select(0, index).view(matrices.shape)
    dealt = pad(ordered, (0, 0, 0, -rows % bands)).unflatten(1, (-1, bands))  # zeros change nothing
    polar = polar_factor(dealt.transpose(1, 2)).transpose(1, 2).flatten(1, 2)[:, :rows]
    return polar.flatten(0, 1).index_select(0, index.argsort()).view(matrices.shape)


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
