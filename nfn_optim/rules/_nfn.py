"""The learned optimizer: NF-Layers on weights and gradients write a correction to Adam's step."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..layers import SharedNPLinear
from ..layers._shared_parts import Parameter, Pooled, Slice, Terms, add_terms, plan_of
from ..layers._shared_pointwise import SharedPointwise
from . import _inputs
from ._base import Params, RuleState, UpdateRule

_SLICE_ENTRIES = 16_000  # entries worked on at once, so that their hidden channels stay in cache


@dataclass(frozen=True)
class NFNRuleConfig:
    """Shape of an `NFNRule`.

    Attributes:
        hidden: Channels between the two NF-Layers.
        initial_lr: Step size of the untrained rule.
    """

    hidden: int = 16
    initial_lr: float = 1e-3


class NFNRule(UpdateRule):
    """`delta = -exp(log_lr + magnitude) * (Adam's direction + correction)`.

    Two `SharedNPLinear` layers read the weight-space tuple of weights, gradients and momenta and
    write two channels an entry, the correction and the log-magnitude. The last layer starts at
    zero, so an untrained rule is Adam at `initial_lr`. The rule runs on any network: it holds no
    shape of the network it trains. It may move entries that have no gradient, such as the weights
    of dead units, from what it sees around them.

    Args:
        config: Shape of the rule.
    """

    MAX_CORRECTION = 4.0
    MAX_LOG_MAGNITUDE = 6.0

    layer: type[SharedNPLinear] | type[SharedPointwise] = SharedNPLinear

    def __init__(self, config: NFNRuleConfig | None = None) -> None:
        super().__init__()
        self.config = config or NFNRuleConfig()
        hidden, context = self.config.hidden, _inputs.CONTEXT_CHANNELS
        self.read = self.layer(_inputs.ENTRY_CHANNELS, hidden, context)
        self.write = self.layer(hidden, 2, context)
        for weight in self.write.parameters():
            nn.init.zeros_(weight)
        self.log_lr = nn.Parameter(torch.tensor(math.log(self.config.initial_lr)))

    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        """Step count, momenta and mean square of the gradient, in float32 at least."""
        return _inputs.init_slots(param, batch_dims)

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step, see the class."""
        spec, plan, dtype = state.spec, plan_of(state.spec), self.log_lr.dtype
        slots = {
            p.name: _inputs.accumulate(state.slots[p.name], grads[p.name]) for p in plan.parameters
        }
        ordered = {p.name: params[p.name] for p in plan.parameters}
        readings, context = _inputs.read(spec, ordered, grads, slots)
        context = context.to(dtype)
        work = {p.name: _Work.open(p, readings[p.name], dtype) for p in plan.parameters}
        pooled = {n: self._pool(w) for n, w in work.items()}
        terms = self.read.terms(plan, pooled, context)
        hidden = {n: self._hidden(w, terms[n]) for n, w in work.items()}
        last = self.write.terms(plan, {n: pooled for n, (_, pooled) in hidden.items()}, context)
        delta = {n: self._delta(work[n], hidden[n][0], last[n]) for n in params}
        delta = {n: spec.unview(n, d).to(params[n].dtype) for n, d in delta.items()}
        return delta, RuleState({n: slots[n] for n in params}, spec, state.batch_dims)

    def _pool(self, work: _Work) -> Pooled:
        return Pooled.join([self.read.pool(work.parameter, x) for x, _ in work.slices])

    def _hidden(self, work: _Work, terms: Terms) -> tuple[list[Slice], Pooled]:
        """The last layer's output from each slice's own entries, and the pooled hidden channels."""
        outputs, pooled = [], []
        for (x, _), term in zip(work.slices, terms.split(work.size), strict=True):
            p = work.parameter
            hidden = Slice.of(p, add_terms(p, self.read.entries(p, x), term).relu_())
            outputs.append(self.write.entries(p, hidden))
            pooled.append(self.write.pool(p, hidden))
        return outputs, Pooled.join(pooled)

    def _delta(self, work: _Work, outputs: list[Slice], terms: Terms) -> Tensor:
        steps = []
        parts = zip(outputs, terms.split(work.size), work.slices, strict=True)
        for output, term, (_, adam) in parts:
            correction, magnitude = add_terms(work.parameter, output, term)
            correction = correction.clamp(-self.MAX_CORRECTION, self.MAX_CORRECTION)
            magnitude = magnitude.clamp(-self.MAX_LOG_MAGNITUDE, self.MAX_LOG_MAGNITUDE)
            steps.append(-(magnitude + self.log_lr).exp() * (adam + correction))
        return steps[0] if len(steps) == 1 else torch.cat(steps, -work.axes)

    @property
    def step_size(self) -> float:
        """Size of an entry's step where the network asks for no change: Adam's learning rate."""
        return math.exp(self.log_lr)

    def get_config(self) -> dict[str, float]:
        """The configuration as plain numbers, as a checkpoint stores it."""
        return asdict(self.config)


@dataclass(frozen=True)
class _Work:
    """One parameter during a step, in slices along its output axis.

    Attributes:
        parameter: How it is read.
        slices: Input channels and Adam's direction `(*b, *axes)` of each slice.
        size: Outputs a slice.
        axes: Number of the parameter's axes.
    """

    parameter: Parameter
    slices: list[tuple[Slice, Tensor]]
    size: int
    axes: int

    @classmethod
    def open(cls, parameter: Parameter, reading: _inputs.Reading, dtype: torch.dtype) -> _Work:
        """Turns what was read into channels of the rule's type."""
        size = _slice_size(reading.tensors[0], reading.axes)
        slices = [
            (Slice.of(parameter, x.to(dtype)), adam.to(dtype)) for x, adam in reading.slices(size)
        ]
        return cls(parameter, slices, size, reading.axes)


def _slice_size(param: Tensor, axes: int) -> int:
    """Outputs that make up about `_SLICE_ENTRIES` entries; all of them where a compiler fuses."""
    outputs = param.shape[-axes]
    if torch.compiler.is_compiling():
        return outputs
    return max(1, min(outputs, _SLICE_ENTRIES * outputs // param.numel()))
