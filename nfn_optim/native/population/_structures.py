"""What `train.cpp` is called with: its structures, field by field in the same order.

Shape legend: `n` networks of `d` parameters, `m` samples, `b` of them a step, `k` steps.
"""

from __future__ import annotations

import ctypes
from dataclasses import astuple

import torch
from torch import Tensor

from .. import pointer
from ._program import Program


class Task(ctypes.Structure):
    """`Task` of `train.cpp`."""

    _fields_ = (
        ("layers", ctypes.POINTER(ctypes.c_int64)),
        *((name, ctypes.c_int64) for name in ("depth", "networks", "parameters")),
        *((name, ctypes.c_int64) for name in ("batch", "threads")),
        ("omega", ctypes.c_float),
        ("inputs", ctypes.c_void_p),
        ("inputs_stride", ctypes.c_int64),
        ("targets", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("targets_stride", "has_classes")),
    )

    @classmethod
    def of(
        cls, program: Program, networks: int, batch: int, inputs: Tensor, targets: Tensor | None
    ) -> Task:
        """The structure for checked, dense tensors, as long as they are kept."""
        numbers = [number for layer in program.layers for number in astuple(layer)]
        has_own_inputs = inputs.dim() > 1 + len(program.shape)
        has_classes = targets is not None and targets.dtype == torch.int64
        return cls(
            (ctypes.c_int64 * len(numbers))(*numbers),
            len(program.layers),
            networks,
            program.parameters,
            batch,
            torch.get_num_threads(),
            program.omega,
            pointer(inputs),
            inputs[0].numel() if has_own_inputs else 0,
            optional(targets),
            0 if targets is None or has_classes else targets[0].numel(),
            has_classes,
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


def optional(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers are; None is a null pointer."""
    return None if tensor is None else pointer(tensor)
