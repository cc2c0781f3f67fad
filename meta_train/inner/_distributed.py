"""Several processes that meta-train one rule: each has its own work, all share the sums.

Started by `nfn-optim train --processes` on one machine, or by `torchrun` on several, which set the
environment that `torch.distributed` reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class LostContact(ConnectionError):
    """Another process has ended without a word: nothing can be done together any more."""


class OtherFailed(ConnectionError):
    """Another process has failed, and all of them end after a last checkpoint."""


@dataclass(frozen=True)
class Processes:
    """This process among those of a run; by default it is alone.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def check_even(self, name: str, count: int) -> None:
        """Holds the processes to equal shares.

        Raises:
            ValueError: If `count` items cannot be shared evenly.
        """
        if count % self.size:
            raise ValueError(
                f"{name} ({count}) must be a multiple of the number of processes ({self.size}), "
                "so that each has as much to do."
            )

    def check_enough(self, name: str, count: int) -> None:
        """Holds every process to have something to do.

        Raises:
            ValueError: If there are fewer than one of `count` items for each.
        """
        if count < self.size:
            raise ValueError(
                f"{name} ({count}) must be at least the number of processes ({self.size}), so "
                f"that each has something to do. Give a larger --{name.replace('_', '-')}, or "
                "start fewer."
            )

    def part(self, tensor: Tensor) -> Tensor:
        """This process's share of the first axis."""
        return tensor.chunk(self.size)[self.rank]

    def whole(self, part: Tensor, dim: int) -> Tensor:
        """Every process's part, side by side along `dim`, on each of them; errors as for `sum`."""
        if self.size == 1:
            return part
        parts = part.new_zeros(self.size, *part.shape)
        parts[self.rank] = part
        return torch.cat(self.sum(parts).unbind(), dim)

    def sum(self, vector: Tensor) -> Tensor:
        """Sum of every process's vector, on each of them.

        Raises:
            LostContact: If a process has ended.
        """
        if self.size > 1:
            try:
                dist.all_reduce(vector)
            except RuntimeError as error:
                raise self._lost() from error
        return vector

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on one of the processes at least; errors as for `sum`."""
        return bool(self.sum(torch.tensor(float(flag))))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work of its own for each process: what one raises ends it for all of them.

        Raises:
            OtherFailed: If another process raised something; errors as for `sum`.
        """
        failure: Exception | None = None
        try:
            yield
        except LostContact:
            raise
        except Exception as error:
            failure = error
        is_failed = self.any(failure is not None)
        if failure is not None:
            raise failure
        if is_failed:
            raise OtherFailed(
                f"process {self.rank} of {self.size} ends because another one failed."
            )

    def gather(self, item: Any) -> list[Any]:
        """Every process's item on the first one, nothing on the others; errors as for `sum`."""
        if self.size == 1:
            return [item]
        items = [None] * self.size if self.is_first else None
        try:
            dist.gather_object(item, items)
        except RuntimeError as error:
            raise self._lost() from error
        return items or []

    def everyones(self, item: Any) -> list[Any]:
        """Every process's item, on each of them; errors as for `sum`."""
        items = [item] * self.size
        if self.size > 1:
            try:
                dist.all_gather_object(items, item)
            except RuntimeError as error:
                raise self._lost() from error
        return items

    def _lost(self) -> LostContact:
        return LostContact(
            f"process {self.rank} of {self.size} lost contact with another one, which has ended. "
            "The last checkpoint is intact: start all of them again with --resume."
        )


ALONE = Processes()


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """Meets the other processes that were started with this one, if there are any.

    Args:
        device: `cuda` gives every process a GPU of its own.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    is_cuda = torch.device(device).type == "cuda"
    if is_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if is_cuda else "gloo")
    try:
        yield Processes(dist.get_rank(), size)
        dist.barrier()  # threads of gloo that still hold tensors abort a process that ends
    except LostContact:  # leaving the group could wait for the process that is gone
        raise
    except BaseException:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()
