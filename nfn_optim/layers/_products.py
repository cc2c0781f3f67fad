"""Matrix products over many entries, each in the fastest way.

Plain products are MKL's, which uses all registers of Intel's processors only. Long ones of float32
are oneDNN's where there is AVX-512: it uses them everywhere, and is up to twice as fast.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

_LONG = 1 << 20  # multiplications of a product that repay oneDNN's preparations
_NARROWEST = 8  # columns, of either factor
_FEW = 32  # columns whose products are bound by memory
_IMAGES = 32  # that the entries of a long sum are split into
_ENTRIES = 8_192  # of a sum that repays the splitting


def is_long(x: Tensor, columns: int) -> bool:
    """Whether a product of `x` and a matrix of so many columns is oneDNN's."""
    return (
        min(x.shape[-1], columns) >= _NARROWEST
        and x.numel() * columns >= _LONG
        and x.is_cpu
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and _linear() is not None
    )


def product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight`, in one operation."""
    if is_long(x, weight.shape[1]):
        return _transposed_product(x, weight.t())
    return x @ weight


def add_product(y: Tensor, x: Tensor, weight: Tensor) -> None:
    """Adds `x @ weight` to `y`, in place.

    With few columns memory is what takes the time, so that no product is written by itself.
    """
    if weight.shape[1] > _FEW and is_long(x, weight.shape[1]):
        y += product(x, weight)
    else:
        y.addmm_(x, weight)


def outer(x: Tensor, grad: Tensor) -> Tensor:
    """Gradient of a weight, the sum over entries of `x^T grad`."""
    rows, grad_rows = x.flatten(0, -2), grad.flatten(0, -2)
    if is_long(rows, grad_rows.shape[1]):
        return _long_outer(rows, grad_rows)
    entries, blocks = rows.shape[0], gcd(rows.shape[0], 64)
    if entries < 8 * blocks * max(rows.shape[1], grad_rows.shape[1]):
        return rows.t() @ grad_rows
    # A long sum into a small matrix occupies one core badly and two not at all; blocks of it do.
    split, grad_split = rows.unflatten(0, (blocks, -1)), grad_rows.unflatten(0, (blocks, -1))
    return torch.bmm(split.transpose(1, 2), grad_split).sum(0)


def _long_outer(rows: Tensor, grad_rows: Tensor) -> Tensor:
    """A sum over many entries is the weight gradient of a convolution over images of them."""
    rest = rows.shape[0] % _IMAGES
    if rows.shape[0] < _ENTRIES:
        return _transposed_product(rows.t(), grad_rows.t())
    if rest:
        return _long_outer(rows[rest:], grad_rows[rest:]) + rows[:rest].t() @ grad_rows[:rest]
    shape = (grad_rows.shape[1], rows.shape[1], 1, 1)
    return conv2d_weight(_images(rows), shape, _images(grad_rows))[:, :, 0, 0].t()


def _images(rows: Tensor) -> Tensor:
    """Rows as the pixels of images with channels last."""
    return rows.view(_IMAGES, -1, 1, rows.shape[1]).permute(0, 3, 1, 2)


def _transposed_product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight^T` by oneDNN."""
    result: Tensor = _linear()(x, weight, None, "none", [], "")
    return result


@cache
def _linear() -> Any:
    """The product of oneDNN, None where it is slow or, being no public operation, missing."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
