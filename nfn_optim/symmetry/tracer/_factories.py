"""Functions that make tensors of given sizes, where sizes are stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import fx

_FACTORIES = ("empty", "ones", "rand", "randn", "zeros")


@contextmanager
def sizes_in_a_row() -> Iterator[None]:
    """Lets `torch.zeros(x.size(0), 4)` take stand-ins, which torch takes in a tuple only."""
    originals = {name: getattr(torch, name) for name in _FACTORIES}
    for name, original in originals.items():
        setattr(torch, name, _with_sizes_in_a_tuple(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(torch, name, original)


def _with_sizes_in_a_tuple(factory: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(factory)
    def called(*sizes: Any, **options: Any) -> Any:
        in_a_row = len(sizes) > 1 and any(isinstance(size, fx.Proxy) for size in sizes)
        return factory(sizes, **options) if in_a_row else factory(*sizes, **options)

    return called
