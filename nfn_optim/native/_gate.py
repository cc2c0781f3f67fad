"""The one gate in front of native code: no pointer is taken of what was not looked at here.

Native code reads and writes as many numbers as it was told to, wherever a pointer leads. So every
tensor is compared with what the call was made for, and what does not fit raises before anything
is written.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_PLAIN = {Tensor, nn.Parameter}


class Expected(NamedTuple):
    """What native code is told of a tensor.

    Attributes:
        name: What the tensor is called in errors.
        shape: Its shape.
        dtype: The type of its numbers.
        is_written: Whether native code writes to it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    is_written: bool = False


def are_plain(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors are numbers in this process's memory: no subclass, nothing sparse."""
    return (
        {type(t) for t in tensors} <= _PLAIN
        and all([t.is_cpu for t in tensors])
        and {t.layout for t in tensors} <= {torch.strided}
    )


def are_float32(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors are plain float32 numbers."""
    return {t.dtype for t in tensors} <= {torch.float32} and are_plain(tensors)


def check(tensors: Sequence[Tensor], expected: Sequence[Expected]) -> None:
    """Refuses tensors that are not what a call into native code was made for.

    Raises:
        ValueError: Naming the first one that is not plain numbers of the type and shape, that its
            storage does not reach to the end of, or that is written but has entries that share
            memory.
    """
    if not _are_all(tensors, expected):
        for tensor, one in zip(tensors, expected, strict=True):
            if not _are_all([tensor], [one]):
                alone = ", no entry twice" if one.is_written else ""
                raise ValueError(
                    f"{one.name}: got {_describe(tensor)}; native code expects {one.dtype} of "
                    f"shape {tuple(one.shape)} in the CPU's memory{alone}."
                )


def dense(tensor: Tensor) -> Tensor:
    """The tensor itself where its numbers lie one after another, else a copy in which they do."""
    return tensor.resolve_neg().contiguous()


def pointer(tensor: Tensor) -> int:
    """Where the numbers of a checked, dense tensor are."""
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def table(numbers: array[int] | array[float]) -> ctypes.Array[ctypes.c_char]:
    """What ctypes passes as a pointer to the numbers, and keeps alive meanwhile."""
    return (ctypes.c_char * (len(numbers) * numbers.itemsize)).from_buffer(numbers)


def _are_all(tensors: Sequence[Tensor], expected: Sequence[Expected]) -> bool:
    return (
        are_plain(tensors)
        and [t.dtype for t in tensors] == [e.dtype for e in expected]
        and [t.shape for t in tensors] == [e.shape for e in expected]
        and all(map(_is_whole, tensors, expected))
    )


def _is_whole(tensor: Tensor, expected: Expected) -> bool:
    """Whether all entries are in memory, and none twice if it is written to."""
    if tensor.is_contiguous():
        end = (tensor.storage_offset() + tensor.numel()) * tensor.itemsize
        return end <= tensor.untyped_storage().nbytes()
    return not expected.is_written or 0 not in tensor.stride()


def _describe(tensor: Tensor) -> str:
    kind = "" if type(tensor) in _PLAIN else f"a {type(tensor).__name__} of "
    layout = f" as {tensor.layout}"
    if tensor.layout is torch.strided:
        layout = "" if tensor.is_contiguous() else f" with strides {tensor.stride()}"
    return f"{kind}{tensor.dtype} of shape {tuple(tensor.shape)}{layout} on {tensor.device}"
