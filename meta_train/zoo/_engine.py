"""Training many small networks at once: `unroll` on flat weights, chunk by chunk.

Shape legend: `n` networks of `d` parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nfn_optim import NetworkSpec, UpdateRule
from nfn_optim.rules import RuleState

from .._unroll import unroll
from ..tasks import Batch, Params

Progress = Callable[[int, int], None]
_FLAT = "flat"


@dataclass(frozen=True)
class Population:
    """Networks in training, each one row of a matrix.

    Rules for single entries (SGD, Adam) need no structure, and one matrix takes far fewer calls
    than a tensor for every layer.

    Attributes:
        spec: The networks' spec.
        rule: What trains them; its hyperparameters are numbers or one for each network `(n,)`.
        weights: `(n, d)`.
        state: The rule's state.
    """

    spec: NetworkSpec
    rule: UpdateRule
    weights: Tensor
    state: RuleState

    @classmethod
    def start(cls, spec: NetworkSpec, rule: UpdateRule, params: Params) -> Population:
        """Networks before the first step; `params` are stacked, `(n, *stored)` by name."""
        weights = torch.cat([params[name].flatten(1) for name in spec.names], dim=1)
        entries = NetworkSpec({_FLAT: (None,)}, {_FLAT: weights.shape[1:]})
        return cls(spec, rule, weights, rule.init({_FLAT: weights}, entries))

    @property
    def params(self) -> Params:
        """Stacked parameters, `(n, *stored)` by name."""
        return as_params(self.spec, self.weights)

    def train(
        self,
        loss: Callable[[Tensor, Batch], Tensor],
        batches: Iterable[Batch],
        lr: Callable[[int], float] | None = None,
    ) -> Population:
        """One step a batch.

        Args:
            loss: `(weights, batch) -> scalar` of one network, whose weights are `(d,)`.
            batches: Stacked batches, one a step.
            lr: Multiplies the learning rate of step `k`.
        """

        def flat_loss(weights: Params, batch: Batch) -> Tensor:
            return loss(weights[_FLAT], batch)

        with torch.no_grad():
            done = unroll(self.rule, flat_loss, {_FLAT: self.weights}, batches, self.state, lr=lr)
        return Population(self.spec, self.rule, done.params[_FLAT], done.state)


def as_params(spec: NetworkSpec, weights: Tensor) -> Params:
    """`(*batch, d)` as parameters `(*batch, *stored)` by name: views."""
    parts = weights.split([prod(spec.stored[name]) for name in spec.names], dim=-1)
    return {n: p.unflatten(-1, spec.stored[n]) for n, p in zip(spec.names, parts, strict=True)}


def chunks(total: int, size: int) -> Iterator[slice]:
    """Slices of `size` networks, the last one of what is left."""
    for begin in range(0, total, size):
        yield slice(begin, min(begin + size, total))


def chunk_seed(seed: int, chunk: slice) -> torch.Generator:
    """Randomness of one chunk, which does not depend on how many others there are."""
    mixed = torch.tensor([seed, chunk.start], dtype=torch.int64) * torch.tensor([1_000_003, 7_919])
    return torch.Generator().manual_seed(int(mixed.sum()) & 0x7FFF_FFFF_FFFF_FFFF)


def join(parts: list[Params]) -> Params:
    """Chunks of stacked tensors as one."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


Compute = Callable[..., tuple[Tensor, Tensor]]


def with_gradient(compute: Compute, weights: Tensor, *batch: Tensor) -> Tensor:
    """A loss for `Population.train` whose gradient is written out.

    Args:
        compute: `(weights (n, d), *batch) -> losses (n,), gradients (n, d)`, of all networks.
        weights: Of one network, under `vmap`.
        batch: Its batch.
    """
    loss: Tensor = _WithGradient.apply(compute, weights, *batch)[0]
    return loss


def by_autograd(losses: Callable[..., Tensor]) -> Compute:
    """Computes `losses(weights (n, d), *batch) -> (n,)` and gradients, for `with_gradient`."""

    def compute(weights: Tensor, *batch: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = weights.detach().requires_grad_()
            values = losses(leaf, *batch)
            (gradients,) = torch.autograd.grad(values.sum(), leaf)
        return values.detach(), gradients

    return compute


class _WithGradient(torch.autograd.Function):
    """Losses and gradients are computed together; the way back only multiplies."""

    @staticmethod
    def forward(compute: Compute, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Called with what is stacked, see `vmap`."""
        return compute(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        """Keeps the gradients."""
        ctx.num_inputs = len(inputs)
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Tensor, unused: Tensor) -> Any:
        """The chain rule, network by network."""
        return None, adjoint[:, None] * ctx.saved_tensors[0], *[None] * (ctx.num_inputs - 2)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """All networks are computed in one call."""
        return _WithGradient.apply(*args), 0
