"""What is here of tensors that may be cut and dealt to many processes.

It does without torch.distributed.tensor, which takes a while to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_WHOLE = (Tensor, nn.Parameter)  # a look at the type costs less than one for a method


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is a DTensor: there is a part of it on every process, which may be all."""
    return type(tensor) not in _WHOLE and hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """What is here of a tensor, in the same memory."""
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        return tensor.to_local()


def local_gradient(param: Tensor) -> Tensor:
    """What is here of a parameter's gradient, dealt as the parameter is."""
    grad = param.grad
    assert grad is not None
    if is_sharded(param) and is_sharded(grad):
        grad = grad.redistribute(placements=param.placements)
    return local(grad)
