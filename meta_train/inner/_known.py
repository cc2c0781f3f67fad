"""Losses whose gradients are at hand: there is no second way back through them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..tasks import Params


def known(values: Tensor, grads: Params, params: Params) -> Tensor:
    """Losses `(*lead)` as a function of parameters `(*lead, *stored)`, of known gradients."""
    if not (torch.is_grad_enabled() and grads):
        return values
    result: Tensor = _Known.apply(values, *grads.values(), *(params[n] for n in grads))
    return result


def times(factors: Tensor, tensor: Tensor) -> Tensor:
    """The product, factors being along the first axes."""
    return factors.reshape(factors.shape + (1,) * (tensor.dim() - factors.dim())) * tensor


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, *tensors: Tensor) -> Tensor:
        """Takes the losses, then all gradients, then all parameters."""
        ctx.save_for_backward(*tensors[: len(tensors) // 2])
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor | None, ...]:
        """The chain rule, network by network."""
        grads = ctx.saved_tensors
        return None, *(None for _ in grads), *(times(adjoint, grad) for grad in grads)
