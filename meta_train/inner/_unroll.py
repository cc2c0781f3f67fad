"""Inner training of many networks at once, as a differentiable function.

Shape legend: `n` networks, `p` particles (sets of meta-parameters), `k` inner steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.utils import _pytree
from torch.utils.checkpoint import checkpoint

from nfn_optim import NetworkSpec, UpdateRule
from nfn_optim.native import taped
from nfn_optim.rules import RuleState

from ..tasks import Batch, Params, stack
from ._known import times
from ._losses import Loss, Losses

Update = Callable[[Params, Params, RuleState], tuple[Any, RuleState]]


@dataclass(frozen=True)
class Unrolled:
    """Where inner training arrived.

    Attributes:
        params: `(n, *stored)` by name, with what networks carry; with particles `(p, n, *stored)`.
        state: The rule's state.
        losses: Training loss before each step, on that step's batch, `(k, n)` or `(k, p, n)`.
        mean_params: Mean of what the rule heads for after each step, shaped like the trained ones
            of `params`; empty unless asked for.
    """

    params: Params
    state: RuleState
    losses: Tensor
    mean_params: Params


def unroll(
    rule: UpdateRule,
    loss: Loss | Losses,
    params: Params,
    batches: Iterable[Batch],
    state: RuleState,
    *,
    first_order: bool = True,
    lr: Callable[[int], float | Tensor] | None = None,
    remat: bool = False,
    averaged: bool = False,
    theta: Params | None = None,
    generator: torch.Generator | None = None,
) -> Unrolled:
    """Trains `n` networks with one rule, one step a batch; differentiable in the rule's parameters.

    Under `torch.no_grad()` nothing is recorded. Each step's batch is new to the parameters it
    meets, so `losses` also serve as meta-loss on fresh batches.

    Main arguments:
        rule: The update rule.
        loss: Loss of one network on one batch, which is vmapped; or `Losses`, for networks that
            carry more than parameters, draw random numbers, or have to take turns.
        params: Networks stacked on a leading axis, `(n, *stored)` by name, and what they carry.
        batches: Batches stacked likewise, one a step.
        state: From `rule.init(params, spec)` or an earlier unroll.

    Other arguments:
        first_order: Whether the rule reads its inputs as constants. The meta-gradient then ignores
            how a step changes later gradients: a little less exact, and a third cheaper.
        lr: Multiplier of step `k`'s update, a number or one for each network `(n,)`.
        remat: Whether backpropagation computes every step again instead of keeping what happened
            in it: memory for one step and `k` sets of parameters and slots, for a third more time.
        averaged: Whether to find `mean_params` too.
        theta: Meta-parameters of particles, `(p, *shape)` by name, in place of the rule's own of
            these names. Every particle trains networks `(p, n, *stored)` of its own, on the same
            batches; `state` carries the same leading axis.
        generator: Gives the seed of every step whose losses draw random numbers; torch's own
            without.

    Raises:
        ValueError: If `batches` is empty or the loss is not one scalar a network.
    """
    losses: list[Tensor] = []
    total: Params = {}
    many = loss if isinstance(loss, Losses) else Losses(loss)
    update = _fused(rule) if theta is None else _particles(rule, theta)
    for k, batch in enumerate(batches):
        step = _Step(
            update, many, many.seed(generator), theta is not None, first_order, _rate(lr, k)
        )
        if remat and torch.is_grad_enabled():
            params, state, values = checkpoint(step, params, batch, state, use_reentrant=False)
        else:
            params, state, values = step(params, batch, state)
        losses.append(values)
        if averaged:
            heading = rule.heading({n: params[n] for n in state.slots}, state)
            total = {n: p + total[n] if total else p for n, p in heading.items()}
    if not losses:
        raise ValueError("unroll got no batches. Pass one batch for each inner step.")
    mean = {n: t / len(losses) for n, t in total.items()}
    return Unrolled(params, state, torch.stack(losses), mean)


@dataclass(frozen=True)
class _Step:
    """One inner step.

    Attributes:
        update: `(params, grads, state) -> (delta, state)`.
        losses: Losses of all networks.
        seed: As for these, and likewise:
        particles: Whether there are particles.
        first_order: As for `unroll`.
        lr: Multiplier of the update.
    """

    update: Update
    losses: Losses
    seed: int | None
    particles: bool
    first_order: bool
    lr: float | Tensor

    def __call__(
        self, params: Params, batch: Batch, state: RuleState
    ) -> tuple[Params, RuleState, Tensor]:
        values, grads, carried = self.losses.differentiate(
            params,
            list(state.slots),
            batch,
            self.seed,
            particles=self.particles,
            second_order=torch.is_grad_enabled() and not self.first_order,
        )
        trained = {n: params[n] for n in state.slots}
        inputs = {n: p.detach() for n, p in trained.items()} if self.first_order else trained
        delta, state = self._updated(inputs, grads, state)
        moved = {n: p + _times(self.lr, delta[n]) for n, p in trained.items() if n in delta}
        return {**params, **carried, **moved}, state, values

    def _updated(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """The rule's step on gradients that have entries, as `NFNOptimizer` takes it."""
        grads = {n: g for n, g in grads.items() if g.numel()}
        if not grads:
            return {}, state
        if len(grads) == len(params):
            return self.update(params, grads, state)
        slots, spec = {n: state.slots[n] for n in grads}, _subset(state.spec, tuple(grads))
        part = RuleState(slots, spec, state.batch_dims)
        delta, new = self.update({n: params[n] for n in grads}, grads, part)
        return delta, replace(state, slots={**state.slots, **new.slots})


@lru_cache(maxsize=256)
def _subset(spec: NetworkSpec, names: tuple[str, ...]) -> NetworkSpec:
    """The spec of some parameters."""
    return spec.subset(names)


def _fused(rule: UpdateRule) -> Update:
    """The rule, natively where that can be had and nothing that it reads is differentiated."""
    prepared = taped.prepare(rule)

    def update(params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        step = None if prepared is None else prepared.step(params, grads, state)
        return rule(params, grads, state) if step is None else step

    return update


def _particles(rule: UpdateRule, theta: Params) -> Update:
    """The rule under every particle's meta-parameters.

    One particle after another takes native steps, and all of them at once take torch's.
    """
    has_native = taped.prepare(rule) is not None
    prepared = [taped.prepare(own) for own in _one_by_one(rule, theta)] if has_native else []

    def one(own: Params, params: Params, grads: Params, state: RuleState) -> Any:
        return functional_call(rule, own, (params, grads, state))

    def update(params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        steps = [
            own and own.step(*_pytree.tree_map(itemgetter(index), (params, grads, state)))
            for index, own in enumerate(prepared)
        ]
        is_native = has_native and all(step is not None for step in steps)
        found = stack(steps) if is_native else vmap(one)(theta, params, grads, state)
        return cast(tuple[Params, RuleState], found)

    return update


def _one_by_one(rule: UpdateRule, theta: Params) -> Iterator[UpdateRule]:
    """The rule with each particle's meta-parameters."""
    for index in range(len(next(iter(theta.values())))):
        own = deepcopy(rule)
        for name, weight in own.named_parameters():
            if name in theta:
                weight.data = theta[name][index]
        yield own


def _rate(lr: Callable[[int], float | Tensor] | None, k: int) -> float | Tensor:
    return 1.0 if lr is None else lr(k)


def _times(lr: float | Tensor, delta: Tensor) -> Tensor:
    if isinstance(lr, Tensor):
        return times(lr, delta)
    return delta if lr == 1.0 else lr * delta
