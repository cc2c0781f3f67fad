"""The one gate in front of native code: no pointer is taken of what was not looked at here.

Native code reads and writes as many numbers as it was told to, wherever a pointer leads. So every
tensor is compared with what the call was made for, and what does not fit raises before anything
is written.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from itertools import compress
from operator import add, gt, le, mod, mul
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

    They are plain numbers of the type and shape, all of them in memory, and no entry that is
    written is also another one. `dense` makes copies of those that do not lie one after another.
    """
    return (
        are_plain(tensors)
        and [t.dtype for t in tensors] == [e.dtype for e in expected]
        and [t.shape for t in tensors] == [e.shape for e in expected]
        and _are_in_place(tensors, expected)
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
    if not fit(tensors, expected):
        written = " and ".join(one.name for one in expected if one.is_written)
        raise ValueError(
            f"{written}: some of their memory is also another tensor's; native code writes only "
            "to tensors that have theirs alone. Give it a .clone() of each."
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


def has_memory(tensor: Tensor) -> bool:
    """Whether there is memory for every entry: none was freed, and none is missing by design."""
    if tensor.is_meta or tensor._is_zerotensor():
        return False
    return (
        tensor.storage_offset() * tensor.itemsize + _reach(tensor)
        <= tensor.untyped_storage().nbytes()
    )


def has_own_entries(tensor: Tensor) -> bool:
    """Whether no two entries share memory, as those of `torch.Tensor.expand` do.

    Axes that interleave count as shared, too.
    """
    end = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride < end:
            return False
        end += stride * max(0, size - 1)
    return True


def _are_in_place(tensors: Sequence[Tensor], expected: Sequence[Expected]) -> bool:
    """Whether all memory is there and aligned, and what is written is no other entry's."""
    begins = [t.data_ptr() for t in tensors]
    widths = [t.itemsize for t in tensors]
    are_dense = [t.is_contiguous() for t in tensors]
    sizes = [t.nbytes for t in tensors] if all(are_dense) else list(map(_reach, tensors))
    if any(map(mod, begins, widths)) or (0 in begins and any(map(gt, sizes, begins))):
        return False  # what only stands for zeros, say, is nowhere
    before = map(mul, [t.storage_offset() for t in tensors], widths)
    rooms = [t.untyped_storage().nbytes() for t in tensors]
    if any(map(gt, map(add, before, sizes), rooms)):
        return False
    is_written = [e.is_written for e in expected]
    if not any(is_written):
        return True
    written = compress(zip(tensors, are_dense, strict=True), is_written)
    has_own = all(map(has_own_entries, [t for t, is_dense in written if not is_dense]))
    return has_own and _are_apart(begins, list(map(add, begins, sizes)), is_written)


def _reach(tensor: Tensor) -> int:
    """Bytes from the first entry to the end of the last."""
    if tensor.is_contiguous() or not tensor.numel():
        return tensor.nbytes
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.itemsize * (1 + sum((size - 1) * stride for size, stride in steps))


def _are_apart(begins: list[int], ends: list[int], is_written: list[bool]) -> bool:
    """Whether no span that is written overlaps another one."""
    if all(map(le, sorted(ends), sorted(begins)[1:])):
        return True  # nothing overlaps: one has ended where the next begins
    end = end_of_written = 0
    for begin, after, writes in sorted(zip(begins, ends, is_written, strict=True)):
        if begin < (end if writes else end_of_written):
            return False
        end = max(end, after)
        end_of_written = max(end_of_written, after if writes else 0)
    return True


def _describe(tensor: Tensor) -> str:
    kind = "" if type(tensor) in _PLAIN else f"a {type(tensor).__name__} of "
    layout = f" as {tensor.layout}"
    if tensor.layout is torch.strided:
        layout = "" if tensor.is_contiguous() else f" with strides {tensor.stride()}"
    return f"{kind}{tensor.dtype} of shape {tuple(tensor.shape)}{layout} on {tensor.device}"
