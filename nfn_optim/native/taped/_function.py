"""The calls into native code, and what autograd knows of them."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from importlib.resources import files
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


def take(
    plan: Plan, settings: tuple[float, ...], laid: list[Tensor], weights: list[Tensor]
) -> Taken:
    """Takes a step; deltas and leads are functions of `weights` and of the leads in `laid`."""
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
        _pointers(weights),
        table(array("f", settings)),
        ctypes.c_void_p(pointer(tape) if is_taped else None),
    )
    if is_taped:
        before = laid[LEAD::TENSORS]
        moved = _Step.apply(plan, settings, tape, (*deltas, *leads), *before, *weights)
        deltas, leads = moved[: len(deltas)], moved[len(deltas) :]
    return Taken(deltas, leads, slots)


class _Step(torch.autograd.Function):
    """A step that was taken, as a function of the leads before it and of the meta-parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        settings: tuple[float, ...],
        tape: Tensor,
        moved: tuple[Tensor, ...],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """Takes the leads before the step, then the meta-parameters."""
        ctx.plan, ctx.settings = plan, settings
        ctx.save_for_backward(tape, *tensors)
        return moved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *adjoints: Tensor) -> tuple[Tensor | None, ...]:
        """From the adjoints of deltas and leads."""
        plan: Plan = ctx.plan
        tape, *tensors = ctx.saved_tensors
        count = len(plan.laid)
        leads, weights = tensors[:count], tensors[count:]
        laid = list(map(dense, adjoints))
        before, gradients = (list(map(torch.empty_like, of)) for of in (leads, weights))
        per_parameter = zip(laid[:count], laid[count:], leads, before, strict=True)
        LIBRARY.call(
            "nfn_taped_back",
            ctypes.byref(plan.shapes),
            ctypes.c_void_p(pointer(tape)),
            _pointers([tensor for of_one in per_parameter for tensor in of_one]),
            _pointers(weights),
            table(array("f", ctx.settings)),
            _pointers(gradients),
        )
        return None, None, None, None, *before, *gradients


def _tape_size(plan: Plan) -> int:
    """Floats of one network's tape."""
    size = ctypes.c_int64()
    LIBRARY.call("nfn_tape_size", ctypes.byref(plan.shapes), ctypes.byref(size))
    return size.value


def _empty(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def _pointers(tensors: list[Tensor]) -> ctypes.Array[ctypes.c_char]:
    return table(array("Q", map(pointer, tensors)))
