"""Convolutions of many networks in native code, each with its own kernels.

Shape legend: `n` networks, `b` samples, `c` input and `o` output channels.
"""

from __future__ import annotations

import ctypes
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from .. import Expected, Library, dense, fit, pointer

__all__ = ["LIBRARY", "backward", "can_convolve", "empty_result", "forward"]

_SOURCE = Path(str(files(__package__))) / "convolution.cpp"
LIBRARY = Library(_SOURCE, is_threaded=False)


class _Tensors(ctypes.Structure):
    """`Tensors` of `convolution.cpp`."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("input", "weight", "bias", "result"))


class _Adjoints(ctypes.Structure):
    """`Adjoints` there."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("result", "input", "weight", "bias"))


def can_convolve(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> bool:
    """Whether native code knows this convolution; arguments as for `forward`.

    The tensors are float32 on a CPU, of fitting shapes, and neither they nor the result are empty.
    """
    tensors = [input, weight] if bias is None else [input, weight, bias]
    return (
        fit(tensors, [Expected("", tuple(t.shape)) for t in tensors])
        and input.dim() == weight.dim() == 5
        and (len(input), input.shape[2]) == (len(weight), weight.shape[2])
        and (bias is None or bias.shape == weight.shape[:2])
        and all(t.numel() > 0 for t in tensors)
        and stride > 0
        and padding >= 0
        and min(_result(input, weight, stride, padding)) > 0
        and LIBRARY.can_load()
    )


def empty_result(input: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Memory for the result, `(n, b, o, height, width)`; arguments as for `forward`."""
    return input.new_empty(_result(input, weight, stride, padding))


def forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    is_rectified: bool,
    result: int,
) -> None:
    """Of samples `(n, b, c, height, width)` with kernels `(n, o, c, height, width)`, all dense.

    Args:
        input: The samples.
        weight: The kernels.
        bias: `(n, o)`, or None.
        stride: Of rows and of columns.
        padding: Zeros at every side.
        is_rectified: Whether negative results become zero.
        result: Where they are written: the `pointer` of an `empty_result`.
    """
    given = _Tensors(pointer(input), pointer(weight), None if bias is None else pointer(bias), None)
    LIBRARY.call(
        "nfn_convolve",
        _shape(input, weight, stride, padding),
        ctypes.byref(given),
        ctypes.c_bool(is_rectified),
        ctypes.c_void_p(result),
    )


def backward(
    adjoint: Tensor,
    input: Tensor,
    weight: Tensor,
    rectified: Tensor | None,
    stride: int,
    padding: int,
    *,
    of_input: bool,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """From the adjoint of the result to those of samples, if these are asked for, kernels and bias.

    Args:
        adjoint: Of the result.
        input: As for `forward`.
        weight: As for `forward`.
        rectified: The result, if negative ones became zero.
        stride: As for `forward`.
        padding: As for `forward`.
        of_input: Whether the adjoint of the samples is asked for.

    Raises:
        ValueError: If the adjoint is not shaped like the result.
    """
    expected = _result(input, weight, stride, padding)
    if tuple(adjoint.shape) != expected or adjoint.dtype != torch.float32:
        raise ValueError(f"the adjoint must be float32 of shape {expected}; got {adjoint.shape}.")
    adjoint, input, weight = dense(adjoint), dense(input), dense(weight)
    found = torch.empty_like(input) if of_input else None
    of_weight, of_bias = torch.empty_like(weight), weight.new_empty(weight.shape[:2])
    known = None if rectified is None else pointer(rectified)
    adjoints = _Adjoints(
        pointer(adjoint),
        None if found is None else pointer(found),
        pointer(of_weight),
        pointer(of_bias),
    )
    LIBRARY.call(
        "nfn_convolve_back",
        _shape(input, weight, stride, padding),
        ctypes.byref(_Tensors(pointer(input), pointer(weight), None, known)),
        ctypes.byref(adjoints),
    )
    return found, of_weight, of_bias


def _result(input: Tensor, weight: Tensor, stride: int, padding: int) -> tuple[int, ...]:
    sides = zip(input.shape[3:], weight.shape[3:], strict=True)
    sizes = [(side + 2 * padding - kernel) // stride + 1 for side, kernel in sides]
    return (*input.shape[:2], weight.shape[1], *sizes)


def _shape(
    input: Tensor, weight: Tensor, stride: int, padding: int
) -> ctypes.Array[ctypes.c_int64]:
    """`Shape` of `geometry.h`."""
    sizes = (*input.shape, weight.shape[1], *weight.shape[3:], stride, padding)
    return (ctypes.c_int64 * len(sizes))(*sizes)
