"""What `train.cpp` is called with: its structures, field by field in the same order.

Shape legend: `n` networks, `m` samples, `b` of them a step.
"""

from __future__ import annotations

import ctypes
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor

from ._program import Program


class Task(ctypes.Structure):
    """`Task` of `train.cpp`."""

    _fields_ = (
        ("layers", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("depth", "networks", "parameters")),
        *((name, ctypes.c_int64) for name in ("batch", "threads")),
        ("omega", ctypes.c_float),
        ("inputs", ctypes.c_void_p),
        ("inputs_stride", ctypes.c_int64),
        ("targets", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("targets_stride", "has_classes")),
    )


class Training(ctypes.Structure):
    """`Training` of `train.cpp`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "first_step", "keep_size")),
        *((name, ctypes.c_void_p) for name in ("index", "keep", "lr", "rates", "l2", "masks")),
        ("is_adam", ctypes.c_int64),
        *((name, ctypes.c_double) for name in ("beta", "beta_square", "eps")),
        *((name, ctypes.c_void_p) for name in ("weights", "moments", "squares")),
    )


def as_task(
    program: Program,
    networks: int,
    batch: int,
    inputs: Tensor,
    targets: Tensor | None = None,
    has_own_inputs: bool = False,
) -> tuple[Task, Any]:
    """The structure, and what must be kept while it is used."""
    inputs = inputs.contiguous()
    targets = None if targets is None else targets.contiguous()
    has_classes = targets is not None and targets.dtype == torch.int64
    layers = torch.tensor([astuple(layer) for layer in program.layers], device="cpu")
    task = Task(
        pointer(layers),
        len(program.layers),
        networks,
        program.parameters,
        batch,
        torch.get_num_threads(),
        program.omega,
        pointer(inputs),
        inputs[0].numel() if has_own_inputs else 0,
        pointer(targets),
        0 if targets is None or has_classes else targets[0].numel(),
        has_classes,
    )
    return task, (layers, inputs, targets)


def pointer(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers are; None is a null pointer."""
    return None if tensor is None else tensor.data_ptr()
