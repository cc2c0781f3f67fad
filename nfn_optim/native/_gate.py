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


def fit(tensors: Sequence[Tensor], expected: Sequence[Expected]) -> bool:
    """Whether tensors are what a call into native code was made for.

    They are plain numbers of the type and shape, their storage reaches as far as they do, and those
    that are written have no entry twice. `dense` makes copies of those that are not.
    """
    return (
        are_plain(tensors)
        and [t.dtype for t in tensors] == [e.dtype for e in expected]
        and [t.shape for t in tensors] == [e.shape for e in expected]
        and _are_whole(tensors, expected)
    )


def check(tensors: Sequence[Tensor], expected: Sequence[Expected]) -> None:
    """Refuses tensors that do not `fit`.

    Raises:
        ValueError: Naming the first one.
    """
    for tensor, one in zip(tensors, expected, strict=True):
        if not fit([tensor], [one]):
            alone = ", no entry twice" if one.is_written else ""
            raise ValueError(
                f"{one.name}: got {_describe(tensor)}; native code expects {one.dtype} of "
                f"shape {tuple(one.shape)} in the CPU's memory{alone}."
            )


def is_transformed() -> bool:
    """Whether tensors may be something else than their numbers."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def dense(tensor: Tensor) -> Tensor:
    """The tensor itself where its numbers lie one after another, else a copy in which they do."""
    return tensor.contiguous() if not tensor.is_neg() else tensor.resolve_neg().contiguous()


def are_dense(tensors: Sequence[Tensor]) -> bool:
    """Whether `dense` copies none of them."""
    return all([t.is_contiguous() and not t.is_neg() for t in tensors])


def pointer(tensor: Tensor) -> int:
    """Where the numbers of a dense tensor are that fits."""
    assert tensor.is_contiguous()
    assert tensor.is_cpu
    return tensor.data_ptr()


def pointers(tensors: Sequence[Tensor]) -> array[int]:
    """Where those of many are, which `are_dense`."""
    return array("Q", [t.data_ptr() for t in tensors])


def is_copy(tensor: Tensor, of: Tensor) -> bool:
    """Whether one of two tensors of the same numbers does not lie where the other does."""
    return tensor is not of and tensor.data_ptr() != of.data_ptr()


def table(numbers: array[int] | array[float]) -> ctypes.Array[ctypes.c_char]:
    """What ctypes passes as a pointer to the numbers, and keeps alive meanwhile."""
    return (ctypes.c_char * (len(numbers) * numbers.itemsize)).from_buffer(numbers)


def _are_whole(tensors: Sequence[Tensor], expected: Sequence[Expected]) -> bool:
    beyond = [
        t.storage_offset() * t.itemsize + t.nbytes - t.untyped_storage().nbytes()
        for t in tensors
        if t.is_contiguous()
    ]
    if max(beyond, default=0) > 0:
        return False
    if len(beyond) == len(tensors):
        return True
    scattered = [(t, e) for t, e in zip(tensors, expected, strict=True) if not t.is_contiguous()]
    return all(_is_in_storage(t) and not (e.is_written and 0 in t.stride()) for t, e in scattered)


def _is_in_storage(tensor: Tensor) -> bool:
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    return tensor.numel() == 0 or (last + 1) * tensor.itemsize <= tensor.untyped_storage().nbytes()


def _describe(tensor: Tensor) -> str:
    kind = "" if type(tensor) in _PLAIN else f"a {type(tensor).__name__} of "
    layout = f" as {tensor.layout}"
    if tensor.layout is torch.strided:
        layout = "" if tensor.is_contiguous() else f" with strides {tensor.stride()}"
    return f"{kind}{tensor.dtype} of shape {tuple(tensor.shape)}{layout} on {tensor.device}"
