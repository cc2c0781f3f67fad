"""Which entries of a parameter each process holds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

from ...symmetry import Shape
from .._local import local

Box = tuple[slice, ...]


def check_shards(name: str, param: DTensor) -> None:
    """Refuses shards that no step can be taken on.

    Raises:
        TypeError: Naming the parameter, and what to do.
    """
    for placement in param.placements:
        if isinstance(placement, Partial):
            raise TypeError(
                f"parameter {name!r} is a DTensor that is placed as {placement}: every process "
                "holds a summand of it. Make it whole or a shard: "
                "param.redistribute(placements=[Replicate()])."
            )
        if not isinstance(placement, Replicate) and not hasattr(placement, "dim"):
            raise TypeError(
                f"parameter {name!r} is a DTensor that is placed as {placement}; NFNOptimizer "
                "knows Shard and Replicate. Redistribute it."
            )
    if param.is_complex():
        raise TypeError(
            f"parameter {name!r} is a DTensor of complex numbers. Keep it as pairs (..., 2), and "
            "use torch.view_as_complex in forward."
        )
    cut = Cut.of(param)
    if cut.boxes and cut.size_of(cut.mine) != tuple(local(param).shape):
        raise TypeError(
            f"parameter {name!r} is a DTensor whose part here has shape "
            f"{tuple(local(param).shape)}; placed as {param.placements} it would have "
            f"{cut.size_of(cut.mine)}. Shard it with fully_shard or parallelize_module."
        )


@dataclass(frozen=True)
class Cut:
    """How a parameter is cut.

    Attributes:
        shape: Of the whole.
        ranks: Processes among which it is cut, in global ranks; the others have the same parts as
            one of these.
        boxes: What each of them holds.
        mine: The position of this process.
    """

    shape: Shape
    ranks: tuple[int, ...]
    boxes: tuple[Box, ...]
    mine: int

    @classmethod
    def of(cls, param: DTensor) -> Cut:
        """Of a parameter; no boxes where every process holds all of it."""
        mesh, placements = param.device_mesh, param.placements
        here = mesh.get_coordinate()
        assert here is not None
        dims = [i for i, p in enumerate(placements) if hasattr(p, "dim") and mesh.size(i) > 1]
        if not dims:
            return cls(tuple(param.shape), (), (), 0)
        found: dict[int, Box] = {}
        for chosen in product(*(range(mesh.size(i)) for i in dims)):
            at = list(here)
            for i, position in zip(dims, chosen, strict=True):
                at[i] = position
            found[int(mesh.mesh[tuple(at)])] = _box(param, at)
        ranks = tuple(sorted(found))
        mine = ranks.index(int(mesh.mesh[tuple(here)]))
        return cls(tuple(param.shape), ranks, tuple(found[rank] for rank in ranks), mine)

    def part_of(self, whole: Tensor, position: int) -> Tensor:
        """What a process holds of a tensor `(*batch, *shape)`, in the same memory."""
        index: Any = (..., *self.boxes[position])
        return whole[index]

    def size_of(self, position: int) -> Shape:
        """Shape of what a process holds."""
        return tuple(part.stop - part.start for part in self.boxes[position])

    def count_of(self, position: int) -> int:
        """Entries that a process holds."""
        return prod(self.size_of(position))


def _box(param: DTensor, at: list[int]) -> Box:
    """What the process at a coordinate of the mesh holds."""
    mesh, kept = param.device_mesh, [torch.arange(size) for size in param.shape]
    for i, placement in enumerate(param.placements):
        if not isinstance(placement, Replicate):
            dim = placement.dim % param.dim()  # type: ignore[attr-defined]
            kept[dim] = _part(kept[dim], placement, mesh.size(i), at[i])
    return tuple(_as_slice(indices) for indices in kept)


def _part(indices: Tensor, placement: Any, num: int, position: int) -> Tensor:
    """As torch deals indices: equal chunks, of which the last may be smaller or empty.

    What FSDP2 makes of a parameter that is tensor-parallel along the same axis is dealt inside each
    part of that.
    """
    blocks = [indices] if type(placement) is Shard else indices.chunk(placement.split_factor)
    chunks = [block.chunk(num) for block in blocks]
    mine = [chunk[position] if position < len(chunk) else indices[:0] for chunk in chunks]
    return torch.cat(mine)


def _as_slice(indices: Tensor) -> slice:
    if not len(indices):
        return slice(0, 0)
    start, stop = int(indices[0]), int(indices[-1]) + 1
    return slice(start, stop if stop - start == len(indices) else start)
