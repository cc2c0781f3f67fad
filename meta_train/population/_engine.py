"""Training many small networks at once: `unroll` on flat weights, chunk by chunk.

On a CPU native code takes the same steps, where it can. Shape legend: `n` networks of `d`
parameters, `b` samples a step, `c` channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nfn_optim import NetworkSpec, UpdateRule
from nfn_optim.native import population as native
from nfn_optim.rules import RuleState

from ..inner import unroll
from ..tasks import Params
from ._objective import Classification, Objective, Regression
from ._program import read
from ._rows import as_params, as_rows
from ._stacked import forward

IndexedBatch = tuple[Tensor, ...]
"""Which samples a step sees `(n, b)`, and dropout factors `(n, b, c)` after each activation."""

_FLAT = "flat"
_STEPS_AT_ONCE = 64  # of native code: few calls, and batches that fit into memory
_SAMPLES_AT_ONCE = 100  # when networks are evaluated by torch


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
        weights = as_rows(spec, params)
        entries = NetworkSpec({_FLAT: (None,)}, {_FLAT: weights.shape[1:]})
        return cls(spec, rule, weights, rule.init({_FLAT: weights}, entries))

    @property
    def params(self) -> Params:
        """Stacked parameters, `(n, *stored)` by name."""
        return as_params(self.spec, self.weights)

    def take_steps(
        self,
        objective: Objective,
        batches: Iterable[IndexedBatch],
        lr: Callable[[int], float] = lambda k: 1.0,
    ) -> Population:
        """Trains, one step a batch.

        Args:
            objective: Samples and loss.
            batches: The samples of each step.
            lr: Multiplies the learning rate of step `k`.
        """
        program = read(objective.module, self.spec, objective.sample_shape)
        samples = native.Samples(objective.inputs, objective.targets, objective.l2, objective.masks)
        has_loss = type(objective) in (Classification, Regression)
        if program is None or not (has_loss and native.can_train(self.rule, samples, self.weights)):
            return self._unroll(objective, batches, lr)
        trained, done = self, 0
        for _, alike in groupby(batches, lambda batch: [tensor.shape for tensor in batch]):
            while some := list(islice(alike, _STEPS_AT_ONCE)):
                rates = [lr(done + k) for k in range(len(some))]
                trained = trained._train_natively(program, samples, some, rates)
                done += len(some)
        return trained

    def _train_natively(
        self,
        program: native.Program,
        samples: native.Samples,
        batches: list[IndexedBatch],
        rates: list[float],
    ) -> Population:
        weights = _copy(self.weights)
        slots = {name: _copy(slot) for name, slot in self.state.slots[_FLAT].items()}
        index = torch.stack([index for index, *_ in batches], dim=1)
        dropped = [torch.cat([k.flatten(1) for k in keep], 1) for _, *keep in batches if keep]
        keep = torch.stack(dropped, dim=1) if dropped else None
        native.train(program, self.rule, samples, index, keep, rates, weights, slots)
        return replace(self, weights=weights, state=replace(self.state, slots={_FLAT: slots}))

    def _unroll(
        self, objective: Objective, batches: Iterable[IndexedBatch], lr: Callable[[int], float]
    ) -> Population:
        def loss(weights: Params, batch: IndexedBatch) -> Tensor:
            value: Tensor = _WithGradient.apply(objective.compute, weights[_FLAT], *batch)[0]
            return value

        with torch.no_grad():
            done = unroll(self.rule, loss, {_FLAT: self.weights}, batches, self.state, lr=lr)
        return replace(self, weights=done.params[_FLAT], state=done.state)


def outputs_of(module: nn.Sequential, spec: NetworkSpec, weights: Tensor, images: Tensor) -> Tensor:
    """Outputs of all networks `(n, d)` for the same images `(m, c, h, w)`: `(n, m, classes)`."""
    program = read(module, spec, images.shape[1:])
    needs_gradient = torch.is_grad_enabled() and weights.requires_grad
    if program is not None and not needs_gradient and native.can_evaluate(weights, images):
        return native.evaluate(program, weights, images)
    params = as_params(spec, weights)
    pieces = [piece.expand(len(weights), *piece.shape) for piece in images.split(_SAMPLES_AT_ONCE)]
    return torch.cat([forward(module, params, piece) for piece in pieces], dim=1)


def _copy(tensor: Tensor) -> Tensor:
    """To be written to."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def chunks(total: int, size: int) -> Iterator[slice]:
    """Slices of `size` networks, the last one of what is left."""
    for begin in range(0, total, size):
        yield slice(begin, min(begin + size, total))


def chunk_seed(seed: int, chunk: slice) -> torch.Generator:
    """Randomness of one chunk, which does not depend on how many others there are."""
    mixed = torch.tensor([seed, chunk.start], dtype=torch.int64) * torch.tensor([1_000_003, 7_919])
    return torch.Generator().manual_seed(int(mixed.sum()) & 0x7FFF_FFFF_FFFF_FFFF)


def join(parts: list[Params]) -> Params:
    """Concatenates the stacked tensors of chunks."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


Compute = Callable[..., tuple[Tensor, Tensor]]


class _WithGradient(torch.autograd.Function):
    """A loss under `vmap` whose gradient is written out.

    Losses and gradients of all networks are computed together; the way back only multiplies.
    """

    @staticmethod
    def forward(compute: Compute, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """`compute(weights (n, d), *batch)`: called with what is stacked, see `vmap`."""
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
