"""What a step is taken on: shapes, types and devices, checked before anything has moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..native import has_memory, has_own_entries
from ..symmetry import Shape
from ._local import is_sharded, local

_TYPES = (
    *(torch.float32, torch.float64, torch.bfloat16, torch.float16),
    *(torch.complex64, torch.complex128, torch.complex32),
)
_WHILE_THERE = "It may have been freed: take steps while it is there."
_ANEW = "Make a new NFNOptimizer for the model as it is now, or clear its state of this parameter."


def check_live(
    name: str,
    shape: Shape,
    param: Tensor,
    grad: Tensor,
    slots: Mapping[str, Any],
    stored: Shape | None,
    expected: Mapping[str, Tensor],
) -> None:
    """Refuses what a step cannot be taken on, before it has changed anything.

    Args:
        name: The parameter.
        shape: Of all of it, in real numbers.
        param: Its values that are here, likewise.
        grad: Its gradient, likewise.
        slots: Its state.
        stored: Its shape when the optimizer was made, where that is known.
        expected: Slots such as it has to have.

    Raises:
        ValueError: If a shape, type or device is another than it was.
    """
    check_values(name, shape, param, stored)
    check_slots(name, slots, expected, _ANEW)
    for key, like in expected.items():
        found, wanted = (slots[key].dtype, slots[key].device), (like.dtype, param.device)
        if found != wanted:
            raise ValueError(
                f"slot {key!r} of parameter {name!r} is {found[0]} on {found[1]}; the optimizer "
                f"needs {wanted[0]} on {wanted[1]}. {_ANEW}"
            )
    if not all(map(_is_there, (grad, *[slots[key] for key in expected]))):
        raise ValueError(
            f"there is no memory for gradient or state of parameter {name!r}. {_WHILE_THERE}"
        )


def check_values(name: str, shape: Shape, param: Tensor, stored: Shape | None) -> None:
    """Refuses parameters that no step can read or write.

    Args:
        name: The parameter.
        shape: Of all of it, in real numbers.
        param: Its values that are here, likewise.
        stored: Its shape when the optimizer was made, where that is known.

    Raises:
        ValueError: If the shape is another, entries share memory, or there is no memory.
    """
    if stored is not None and shape != stored:
        raise ValueError(
            f"parameter {name!r} has shape {shape}; when the optimizer was made, it "
            f"had {tuple(stored)}. Make a new NFNOptimizer for the model as it is now."
        )
    if not _is_there(param):
        raise ValueError(f"there is no memory for parameter {name!r}. {_WHILE_THERE}")
    if not param.is_contiguous() and not has_own_entries(param):
        raise ValueError(
            f"parameter {name!r} has entries that share memory, as those of an expanded tensor do, "
            "so that they cannot move by themselves. Give the model a .clone() of it."
        )


def check_gradient(name: str, param: Tensor) -> None:
    """Refuses gradients that do not fit their parameter.

    Raises:
        RuntimeError: If the gradient is sparse.
        ValueError: If it is of another shape, on another device, of integers, or complex where the
            parameter is not; if the parameter is of a type that is not trained; or if there is no
            memory.
    """
    grad = param.grad
    assert grad is not None
    if param.is_meta:
        raise ValueError(
            f"parameter {name!r} is on the meta device, where there are no numbers to train. Move "
            "the model with .to_empty(device=...) and initialize it."
        )
    is_compiling = torch.compiler.is_compiling()
    if not is_compiling and param.is_inference() and not torch.is_inference_mode_enabled():
        raise ValueError(
            f"parameter {name!r} was made in torch.inference_mode(), and cannot be changed outside "
            "of it. Make the model outside, or give it a .clone() that was made there."
        )
    if param.dtype not in _TYPES:
        raise ValueError(
            f"parameter {name!r} is {param.dtype}; the optimizer trains "
            f"{', '.join(str(t).removeprefix('torch.') for t in _TYPES)}. Convert it, or freeze it."
        )
    if grad.layout is not torch.strided:
        raise RuntimeError(
            f"the gradient of {name!r} is sparse, which NFNOptimizer cannot read. Make it dense "
            "(nn.Embedding(..., sparse=False)), or train this one with torch.optim.SparseAdam."
        )
    found, wanted = (grad.shape, grad.device), (param.shape, param.device)
    is_like = grad.is_complex() if param.is_complex() else grad.is_floating_point()
    if is_sharded(grad) != is_sharded(param):
        raise ValueError(
            f"the gradient of {name!r} is a {type(grad).__name__}, the parameter a "
            f"{type(param).__name__}. Leave gradients as backward() gives them."
        )
    if found != wanted or not is_like:
        raise ValueError(
            f"the gradient of {name!r} is {grad.dtype} of shape {tuple(grad.shape)} on "
            f"{grad.device}, the parameter has shape {tuple(param.shape)} and is on "
            f"{param.device}. Call zero_grad() after a change of the parameter."
        )
    if not _is_there(local(grad)) and not grad._is_zerotensor():
        raise ValueError(f"there is no memory for the gradient of {name!r}. {_WHILE_THERE}")


def check_slots(
    name: str, slots: Mapping[str, Any], expected: Mapping[str, Tensor], remedy: str
) -> None:
    """Refuses slots that are not a parameter's.

    Args:
        name: The parameter.
        slots: Its state.
        expected: Slots such as it has to have.
        remedy: What to do instead.

    Raises:
        ValueError: Naming the first slot that is missing, of another shape or no real number.
    """
    for key, like in expected.items():
        found: Any = slots.get(key)
        is_tensor = isinstance(found, Tensor)
        if is_tensor and found.is_floating_point() and found.shape == like.shape:
            continue
        kind = f"{found.dtype} of shape {tuple(found.shape)}" if is_tensor else type(found).__name__
        raise ValueError(
            f"slot {key!r} of parameter {name!r} is {kind}; the optimizer needs {like.dtype} of "
            f"shape {tuple(like.shape)}. {remedy}"
        )


def _is_there(tensor: Tensor) -> bool:
    """Whether every entry has memory; a compiler works without, and `check_gradient` knows meta."""
    if torch.compiler.is_compiling() or tensor.is_meta or not tensor.numel():
        return True
    return has_memory(tensor)
