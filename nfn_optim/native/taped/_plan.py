"""What native code is told of a step of many networks: shapes, and tensors to expect."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from ...rules import Spectral, constants
from ...symmetry import NetworkSpec, Shape
from .. import Expected, table
from ..step import NONE, SLOTS, Layout, layout_of

TENSORS = 2 + len(SLOTS)  # of a parameter: value, gradient and slots
LEAD, MEMORY = 2 + SLOTS.index("lead"), 2 + SLOTS.index("steep")  # positions among these
# Slots, but for the lead.
CHANGED = ("momenta", "square", "step", "loud", "loudest", "opened", "agreed", "asked", "steep")


class Shapes(ctypes.Structure):
    """`Shapes` of `taped.cpp`, field by field in the same order."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("networks", "parameters")),
        *((name, ctypes.c_void_p) for name in ("layout", "fans")),
        ("populations", ctypes.c_long),
        ("sizes", ctypes.c_void_p),
        ("hidden", ctypes.c_int),
    )


@dataclass(frozen=True)
class Plan:
    """Networks of one shape as numbers, and what their tensors are.

    Attributes:
        layout: One of the networks.
        batch: Shape of the stack of networks.
        shapes: All of them.
        tables: What `shapes` points into.
        tensors: Value, gradient and slots of each parameter, as they are stored.
        laid: Shape of each parameter as native code has it.
        slots: Tensors like `CHANGED` of each parameter, without memory.
    """

    layout: Layout
    batch: Shape
    shapes: Shapes
    tables: tuple[ctypes.Array[ctypes.c_char], ...]
    tensors: list[Expected]
    laid: list[Shape]
    slots: list[Tensor]

    def empty_slots(self) -> tuple[Tensor, ...]:
        """Room for `CHANGED` of each parameter, one after another: parts of one tensor."""
        total = sum(slot.numel() for slot in self.slots)
        room = torch.empty(total, dtype=torch.float32, device="cpu")
        return tuple(torch._C._nn.unflatten_dense_tensors(room, self.slots))


@lru_cache(maxsize=64)
def plan_of(spec: NetworkSpec, direction: Spectral, batch: Shape, hidden: int) -> Plan:
    """The plan of a stack of networks, whose steps point in a direction."""
    layout = layout_of(spec, direction)
    tables = table(layout.numbers), table(layout.fans), table(layout.sizes)
    numbers, fans, sizes = map(ctypes.addressof, tables)
    counts = prod(batch), len(layout.names), len(layout.sizes)
    shapes = Shapes(counts[0], counts[1], numbers, fans, counts[2], sizes, hidden)
    tensors: list[Expected] = []
    laid: list[Shape] = []
    for i, name in enumerate(layout.names):
        value, gradient, momenta, *slots = layout.tensors[TENSORS * i : TENSORS * (i + 1)]
        tensors += [_stacked(one, batch) for one in (value, gradient)]
        count, *shape = momenta.shape
        tensors.append(Expected(momenta.name, (count, *batch, *shape)))
        tensors += [_stacked(one, batch) for one in slots]
        is_reordered = layout.reordered[TENSORS * i] is not None
        laid.append((*batch, *(layout.spec.shapes[name] if is_reordered else value.shape)))
    memories = [one.shape for one in tensors[MEMORY::TENSORS]]
    empty = [
        torch.empty(shape, device="meta")
        for entries, memory in zip(laid, memories, strict=True)
        for shape in _changed(entries, batch, memory)
    ]
    return Plan(layout, batch, shapes, tables, tensors, laid, empty)


def _changed(entries: Shape, batch: Shape, memory: Shape) -> tuple[Shape, ...]:
    """Shapes of `CHANGED` of a parameter."""
    numbers = (batch,) * (len(CHANGED) - 3)
    return (len(constants.DECAYS), *entries), entries, *numbers, memory


def _stacked(one: Expected, batch: Shape) -> Expected:
    return one if one.shape == NONE else Expected(one.name, (*batch, *one.shape))
