"""A derived layer as one differentiable function, with its adjoint written out.

Plain autograd would make a weight-sized tensor for every average and every broadcast, and add them
up one by one. Here the backward pass is the forward pass's arithmetic with transposed weights, and
stays differentiable. Compilers, transforms of functions (vmap) and autocast get plain operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._products import outer
from ._gather import Mixer, batch_of, gather, scatter


def mix(
    mixer: Mixer, tensors: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor
) -> tuple[Tensor, ...]:
    """Applies a derived layer to the parameters' features, in the plan's order.

    Args:
        mixer: The plan of the spec's group, and the channels.
        tensors: One `(*batch, *axes, c_in)` a parameter.
        weights: One `(width*c_in, width*c_out)` a level.
        bias: `(width*c_out,)` of the last level, the one that keeps no label.

    Returns:
        One `(*batch, *axes, c_out)` a parameter.
    """
    plain = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if plain or _casts(bias.device.type):
        return _plain(mixer, tensors, weights, bias)[0]
    return _Mix.apply(mixer, bias, *tensors, *weights)


def _casts(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _plain(
    mixer: Mixer,
    tensors: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: Tensor,
    *,
    in_place: bool = False,
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """The layer in plain operations, and the averages it gathered."""
    levels = gather(mixer, tensors)
    batch = batch_of(mixer.plan, tensors[0])
    return scatter(mixer, levels, weights, batch, bias=bias, in_place=in_place), levels


class _Mix(torch.autograd.Function):
    """`mix` with its adjoint written out, so that no pass over a weight is repeated."""

    @staticmethod
    def forward(ctx: Any, mixer: Mixer, bias: Tensor, *args: Tensor) -> tuple[Tensor, ...]:
        tensors, weights = args[: mixer.num_params], args[mixer.num_params :]
        ctx.mixer = mixer
        ctx.set_materialize_grads(False)
        results, levels = _plain(mixer, tensors, weights, bias, in_place=True)
        ctx.save_for_backward(*args, *levels)
        # Detached: autograd lets no one write in place to what it takes for a view.
        return tuple(result.detach() for result in results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        mixer: Mixer = ctx.mixer
        num_params, saved = mixer.num_params, ctx.saved_tensors
        num_args = num_params + len(mixer.plan.levels)
        tensors, weights, levels = saved[:num_params], saved[num_params:num_args], saved[num_args:]
        filled = [
            tensor.new_zeros(*tensor.shape[:-1], mixer.out_channels) if grad is None else grad
            for grad, tensor in zip(grads, tensors, strict=True)
        ]
        needed = ctx.needs_input_grad[2:]
        needs = any(needed[:num_params]), any(needed[num_params:])
        if torch.is_grad_enabled():
            # What was gathered in the forward pass has no history for a second derivative.
            levels = tuple(gather(mixer, tensors)) if needs[1] else ()
        return None, *_adjoint(mixer, tensors, weights, levels, filled, needs)


def _adjoint(
    mixer: Mixer,
    tensors: Sequence[Tensor],
    weights: Sequence[Tensor],
    levels: Sequence[Tensor],
    grads: Sequence[Tensor],
    needs: tuple[bool, bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of bias, features and weights; of the last two if they are needed."""
    grad_tensors: Sequence[Tensor | None] = [None] * len(tensors)
    grad_weights: Sequence[Tensor | None] = [None] * len(weights)
    sums = gather(mixer.transposed, grads)
    # Weights first, while the cotangents that were just read are in the cache.
    if needs[1]:
        grad_weights = [outer(x, g) for x, g in zip(levels, sums, strict=True)]
    if needs[0]:
        batch, transposed = batch_of(mixer.plan, tensors[0]), [weight.t() for weight in weights]
        grad_tensors = scatter(mixer.transposed, sums, transposed, batch, in_place=True)
    return sums[-1].sum(0), *grad_tensors, *grad_weights
