"""The calls into native code, and what autograd knows of them."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import Library, dense, pointer, table
from ..step import definitions
from ._plan import CHANGED, LEAD, TENSORS, Plan

LIBRARY = Library(Path(str(files(__package__))) / "taped.cpp", definitions, is_threaded=False)


class Taken(NamedTuple):
    """What a step leaves, as native code has it.

    Attributes:
        deltas: What each parameter moves by.
        leads: By how much each parameter's fast iterate leads afterwards.
        slots: `CHANGED` of each parameter.
    """

    deltas: Sequence[Tensor]
    leads: Sequence[Tensor]
    slots: list[dict[str, Tensor]]


class MetaParameters(NamedTuple):
    """A rule's meta-parameters, and its settings.

    Attributes:
        row: All of the former, one after another: one tensor takes autograd less time than many.
        starts: Where each begins.
        settings: As `Settings` of `parameter.h` has them.
    """

    row: Tensor
    starts: tuple[int, ...]
    settings: array[float]

    @classmethod
    def of(cls, weights: Sequence[Tensor], settings: Sequence[float]) -> MetaParameters:
        """Takes the meta-parameters in the order of the native step."""
        row = torch.cat([weight.flatten() for weight in weights])
        ends = accumulate([weight.numel() for weight in weights], initial=0)
        return cls(row, tuple(ends)[:-1], array("f", settings))

    def within(self, row: Tensor) -> ctypes.Array[ctypes.c_char]:
        """Where each begins in a row of its own."""
        first = pointer(row)
        return table(array("Q", [first + start * row.itemsize for start in self.starts]))


def take(plan: Plan, meta: MetaParameters, laid: list[Tensor]) -> Taken:
    """Takes a step; deltas and leads are functions of `meta.row` and of the leads in `laid`."""
    deltas, leads = ([_empty(shape) for shape in plan.laid] for _ in range(2))
    changed = iter(plan.empty_slots())
    slots = [dict(zip(CHANGED, changed, strict=False)) for _ in plan.laid]
    results = [
        tensor
        for delta, lead, slot in zip(deltas, leads, slots, strict=True)
        for tensor in (delta, lead, *slot.values())
    ]
    is_taped = torch.is_grad_enabled()
    tape = _empty((plan.shapes.networks, _tape_size(plan) if is_taped else 0))
    LIBRARY.call(
        "nfn_taped_step",
        ctypes.byref(plan.shapes),
        _pointers(laid),
        _pointers(results),
        meta.within(meta.row),
        table(meta.settings),
        ctypes.c_void_p(pointer(tape) if is_taped else None),
    )
    if is_taped:
        before = laid[LEAD::TENSORS]
        moved = _Step.apply(plan, meta, tape, (*deltas, *leads), meta.row, *before)
        deltas, leads = moved[: len(deltas)], moved[len(deltas) :]
    return Taken(deltas, leads, slots)


class _Step(torch.autograd.Function):
    """A step that was taken, as a function of the leads before it and of the meta-parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        meta: MetaParameters,
        tape: Tensor,
        moved: tuple[Tensor, ...],
        row: Tensor,
        *leads: Tensor,
    ) -> tuple[Tensor, ...]:
        """Takes the meta-parameters and the leads before the step."""
        ctx.plan, ctx.meta = plan, meta
        ctx.save_for_backward(tape, row, *leads)
        return moved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoints: Tensor) -> tuple[Tensor | None, ...]:
        """From the adjoints of deltas and leads."""
        meta: MetaParameters = ctx.meta
        tape, row, *leads = ctx.saved_tensors
        laid = list(map(dense, adjoints))
        gradient, *before = map(torch.empty_like, (row, *leads))
        count = len(leads)
        per_parameter = zip(laid[:count], laid[count:], leads, before, strict=True)
        LIBRARY.call(
            "nfn_taped_back",
            ctypes.byref(ctx.plan.shapes),
            ctypes.c_void_p(pointer(tape)),
            _pointers([tensor for of_one in per_parameter for tensor in of_one]),
            meta.within(row),
            table(meta.settings),
            meta.within(gradient),
        )
        return None, None, None, None, gradient, *before


def _tape_size(plan: Plan) -> int:
    """Floats of one network's tape."""
    size = ctypes.c_int64()
    LIBRARY.call("nfn_tape_size", ctypes.byref(plan.shapes), ctypes.byref(size))
    return size.value


def _empty(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def _pointers(tensors: list[Tensor]) -> ctypes.Array[ctypes.c_char]:
    return table(array("Q", map(pointer, tensors)))
