"""Inner training of many networks at once, as a differentiable function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from nfn_optim import UpdateRule
from nfn_optim.rules import RuleState

from .tasks import Batch, Params

Loss = Callable[[Params, Batch], Tensor]


@dataclass(frozen=True)
class Unrolled:
    """Where inner training arrived.

    Attributes:
        params: `(n, *stored)` by name.
        state: The rule's state.
        losses: Training loss before each step, on that step's batch, `(steps, n)`.
    """

    params: Params
    state: RuleState
    losses: Tensor


def unroll(
    rule: UpdateRule,
    loss: Loss,
    params: Params,
    batches: Iterable[Batch],
    state: RuleState,
    *,
    first_order: bool = True,
    lr: Callable[[int], float | Tensor] | None = None,
) -> Unrolled:
    """Trains `n` networks with one rule, one step a batch; differentiable in the rule's parameters.

    Under `torch.no_grad()` nothing is recorded. Each step's batch is new to the parameters it
    meets, so `losses` also serve as meta-loss on fresh batches.

    Main arguments:
        rule: The update rule.
        loss: Loss of one network on one batch; vmapped here.
        params: Networks stacked on a leading axis, `(n, *stored)` by name.
        batches: Batches stacked likewise, one a step.
        state: From `rule.init(params, spec)` or an earlier unroll.

    Other arguments:
        first_order: Whether the rule reads its inputs as constants. The meta-gradient then ignores
            how a step changes later gradients: a little less exact, and a third cheaper.
        lr: Multiplier of step `k`'s update, a number or one for each network `(n,)`.

    Raises:
        ValueError: If `batches` is empty or the loss is not one scalar a network.
    """
    losses = []
    for k, batch in enumerate(batches):
        params, state, values = _inner_step(
            rule, loss, params, batch, state, first_order, 1.0 if lr is None else lr(k)
        )
        losses.append(values)
    if not losses:
        raise ValueError("unroll got no batches. Pass one batch for each inner step.")
    return Unrolled(params, state, torch.stack(losses))


def _inner_step(
    rule: UpdateRule,
    loss: Loss,
    params: Params,
    batch: Batch,
    state: RuleState,
    first_order: bool,
    lr: float | Tensor,
) -> tuple[Params, RuleState, Tensor]:
    recording = torch.is_grad_enabled()
    values, grads = _losses_and_grads(loss, params, batch, recording, not first_order)
    inputs = {n: p.detach() for n, p in params.items()} if first_order else params
    delta, state = rule(inputs, grads, state)
    return {n: p + _times(lr, delta[n]) for n, p in params.items()}, state, values


def _losses_and_grads(
    loss: Loss, params: Params, batch: Batch, recording: bool, second_order: bool
) -> tuple[Tensor, Params]:
    """Loss of every network `(n,)` and gradients; tasks are independent, one sum serves all."""
    with torch.enable_grad():
        points = {
            n: p if p.requires_grad else p.detach().requires_grad_() for n, p in params.items()
        }
        values = vmap(loss)(points, batch)
        if values.dim() != 1:
            raise ValueError(
                "a task's loss must be one scalar for one network; "
                f"got shape {tuple(values.shape[1:])}."
            )
        grads = torch.autograd.grad(
            values.sum(),
            list(points.values()),
            create_graph=recording and second_order,
            retain_graph=recording,
        )
    return (values if recording else values.detach()), dict(zip(points, grads, strict=True))


def _times(lr: float | Tensor, delta: Tensor) -> Tensor:
    if isinstance(lr, Tensor):
        return lr.reshape(lr.shape + (1,) * (delta.dim() - lr.dim())) * delta
    return delta if lr == 1.0 else lr * delta
