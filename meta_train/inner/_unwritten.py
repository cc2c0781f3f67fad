"""Results that are computed later, or never."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from nfn_optim.native import pointer


class Unwritten:
    """Memory that is written if anyone still has it when it is needed.

    Until then every network's first number is NaN, so that no reader whom torch does not announce
    takes it for a result.

    Args:
        result: The memory, `(n, ...)`.
        write: Writes the result at an address.
    """

    def __init__(self, result: Tensor, write: Callable[[int], None]) -> None:
        result.flatten(1)[:, 0] = torch.nan
        self.memory, self.address = StorageWeakRef(result.untyped_storage()), pointer(result)
        self.write = write

    def compute(self) -> None:
        """Writes it, without any operation of torch: these may be under transforms here."""
        memory = torch.UntypedStorage._new_with_weak_ptr(self.memory.cdata)
        if memory is not None:
            self.write(self.address)
