"""Numbers that stay the same from step to step, as tensors.

A copy from the host to a device waits for the device, and a CUDA graph cannot record it. So whoever
takes many steps may keep them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

Numbers = Sequence[float] | Sequence[Sequence[float]]
Kept = dict[tuple[Any, ...], Tensor]

_kept: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def keeping(kept: Kept) -> Iterator[None]:
    """Looks numbers up in what was kept, and keeps those that are new."""
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)


def fixed(numbers: Numbers, like: Tensor) -> Tensor:
    """Numbers as a tensor of the type of another, and where that is; nobody writes to it."""
    kept = None if torch.compiler.is_compiling() else _kept.get()
    if kept is None:
        return like.new_tensor(numbers)
    key = (_frozen(numbers), like.dtype, like.device)
    if key not in kept:
        kept[key] = like.new_tensor(numbers)
    return kept[key]


def _frozen(numbers: Any) -> Any:
    return tuple(map(_frozen, numbers)) if isinstance(numbers, Sequence) else numbers
