"""A derived layer as one differentiable function, with its adjoint written out.

Plain autograd would make a weight-sized tensor for every average and every broadcast, and add them
up one by one. Here the backward pass is the forward pass's arithmetic with transposed weights. It
stays differentiable, and under `vmap` the mapped axis becomes one more batch axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._gather import Mixer, Product, batch_of, gather, scatter, split_factor
from ._plan import Level, Own, Plan


def mix(
    mixer: Mixer,
    tensors: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: Tensor,
    factor: Tensor,
) -> tuple[Tensor, ...]:
    """Applies a derived layer to the parameters' features, in the plan's order.

    Args:
        mixer: The plan of the spec's group, and the channels.
        tensors: One `(*batch, *axes, c_in)` a parameter.
        weights: One `(width*c_in, width*c_out)` a level.
        bias: `(width*c_out,)` of the last level, the one that keeps no label.
        factor: One over `counts`, in the features' dtype.

    Returns:
        One `(*batch, *axes, c_out)` a parameter.
    """
    if torch.compiler.is_compiling():
        return _plain(mixer, tensors, weights, bias, factor)[0]
    return _Mix.apply(mixer, bias, factor, *tensors, *weights)[: mixer.num_params]


def _averages(mixer: Mixer, tensors: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    sums = gather(mixer, tensors)
    return [
        x if f is None else x * f for x, f in zip(sums, split_factor(mixer, factor), strict=True)
    ]


def _plain(
    mixer: Mixer,
    tensors: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: Tensor,
    factor: Tensor,
    *,
    in_place: bool = False,
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """The layer in plain operations, and the averages it gathered."""
    levels = _averages(mixer, tensors, factor)
    products = [Product(x, weight) for x, weight in zip(levels, weights, strict=True)]
    products[-1] = Product(levels[-1], weights[-1], bias=bias)
    batch = batch_of(mixer.plan, tensors[0])
    return scatter(mixer, products, batch, in_place=in_place), levels


def _is_view(plan: Plan, level: Level) -> bool:
    """Whether a level is one parameter as it is stored, so that it need not be saved."""
    own = [source.param for source in level.sources if isinstance(source, Own)]
    return len(own) == len(level.sources) == 1 and plan.folds[own[0]].order is None


def _fresh(plan: Plan, levels: Sequence[Tensor]) -> list[Tensor]:
    return [x for x, level in zip(levels, plan.levels, strict=True) if not _is_view(plan, level)]


class _Mix(torch.autograd.Function):
    """`mix` with its adjoint written out, so that no pass over a weight is repeated."""

    @staticmethod
    def forward(mixer: Mixer, bias: Tensor, factor: Tensor, *args: Tensor) -> tuple[Tensor, ...]:
        tensors, weights = args[: mixer.num_params], args[mixer.num_params :]
        results, levels = _plain(mixer, tensors, weights, bias, factor, in_place=True)
        # Detached: autograd lets no one write in place to what it takes for a view.
        return (*(result.detach() for result in results), *_fresh(mixer.plan, levels))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        mixer, _, factor, *args = inputs
        averages = output[mixer.num_params :]
        ctx.mixer = mixer
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*averages)
        ctx.save_for_backward(factor, *args, *averages)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        mixer: Mixer = ctx.mixer
        num_params, num_levels = mixer.num_params, len(mixer.plan.levels)
        factor, *saved = ctx.saved_tensors
        tensors, weights = saved[:num_params], saved[num_params : num_params + num_levels]
        filled = [
            tensor.new_zeros(*tensor.shape[:-1], mixer.out_channels) if grad is None else grad
            for grad, tensor in zip(grads, tensors, strict=False)
        ]
        sums = gather(mixer.transposed, filled)
        grad_tensors: Sequence[Tensor | None] = [None] * num_params
        grad_weights: Sequence[Tensor | None] = [None] * num_levels
        if any(ctx.needs_input_grad[3 : 3 + num_params]):
            batch = batch_of(mixer.plan, tensors[0])
            products = [
                Product(g, weight.t(), after)
                for g, weight, after in zip(sums, weights, split_factor(mixer, factor), strict=True)
            ]
            grad_tensors = scatter(mixer.transposed, products, batch, in_place=True)
        if any(ctx.needs_input_grad[3 + num_params :]):
            levels = _levels(mixer, tensors, factor, saved[num_params + num_levels :])
            grad_weights = [_outer(x, g) for x, g in zip(levels, sums, strict=True)]
        return None, sums[-1].sum(0), None, *grad_tensors, *grad_weights

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        mixer: Mixer,
        bias: Tensor,
        factor: Tensor,
        *args: Tensor,
    ) -> tuple[tuple[Tensor, ...], Any]:
        _, bias_dim, factor_dim, *dims = in_dims
        num_params, size = mixer.num_params, info.batch_size

        def plain(bias: Tensor, factor: Tensor, *args: Tensor) -> tuple[Tensor, ...]:
            tensors, weights = args[:num_params], args[num_params:]
            results, levels = _plain(mixer, tensors, weights, bias, factor)
            return (*results, *_fresh(mixer.plan, levels))

        if any(dim is not None for dim in (bias_dim, factor_dim, *dims[num_params:])):
            outputs = torch.vmap(plain, in_dims=(bias_dim, factor_dim, *dims))(bias, factor, *args)
            return outputs, (0,) * len(outputs)
        # Only features are batched: one more batch axis, which the arithmetic allows anyway.
        tensors = [
            tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(args, dims[:num_params], strict=False)
        ]
        outputs = _Mix.apply(mixer, bias, factor, *tensors, *args[num_params:])
        split = [x.reshape(size, -1, *x.shape[1:]) for x in outputs[num_params:]]
        return (*outputs[:num_params], *split), (0,) * len(outputs)


def _outer(x: Tensor, grad: Tensor) -> Tensor:
    return x.flatten(0, -2).t() @ grad.flatten(0, -2)


def _levels(
    mixer: Mixer, tensors: Sequence[Tensor], factor: Tensor, averages: Sequence[Tensor]
) -> list[Tensor]:
    """The gathered levels: as saved, or computed again where a second derivative is wanted."""
    if torch.is_grad_enabled():
        return _averages(mixer, tensors, factor)
    saved, plan = iter(averages), mixer.plan
    return [
        plan.folds[level.members[0]].fold(tensors[level.members[0]])
        if _is_view(plan, level)
        else next(saved)
        for level in plan.levels
    ]
