"""The learned optimizer: NF-Layers on weights and gradients write steps that are averaged."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..layers import SharedNPLinear
from ..layers.relational import (
    Means,
    ParameterAxes,
    SharedPointwise,
    Slice,
    Terms,
    add_terms,
    roles_of,
)
from . import _inputs, constants
from ._base import Params, RuleState, UpdateRule

_SLICE_ENTRIES = 8_000  # for every thread, and once more, so that hidden channels stay in cache


@dataclass(frozen=True)
class NFNRuleConfig:
    """Shape of an `NFNRule`.

    Attributes:
        hidden: Channels between the two NF-Layers.
        initial_lr: Step size of the untrained rule.
    """

    hidden: int = 16
    initial_lr: float = 1e-2


class NFNRule(UpdateRule):
    """A fast iterate that takes learned steps, and parameters that average it.

    The fast iterate `z` takes steps `s = -exp(log_size + magnitude) * direction`. The direction
    is the polar factor of a short momentum, as in Muon; for vectors and for matrices
    too large for that it is Adam's. The parameters follow the fast iterate as in Schedule-Free
    AdamW (Defazio et al. 2024, arXiv 2405.15682): with `lead = z - params` and the rate
    `c = sigmoid(log_recency + recency - log(step))`,

        delta = (1 - BETA) s + c (lead + BETA s),

    so that steps can stay large and their noise does not reach the parameters, whatever the length
    of the run. Two `SharedNPLinear` layers read the weight-space tuple of weights, gradients and
    momenta and write two channels an entry, magnitude and recency. `schedule` reads
    the time and writes `log_size` and `log_recency` of every parameter. Both start at zero, so an
    untrained rule is a Schedule-Free Muon at `initial_lr`. The rule runs on any network: it holds
    no shape of the network it trains.

    Args:
        config: Shape of the rule.
    """

    layer: type[SharedNPLinear] | type[SharedPointwise] = SharedNPLinear

    def __init__(self, config: NFNRuleConfig | None = None) -> None:
        super().__init__()
        self.config = config or NFNRuleConfig()
        hidden, context = self.config.hidden, constants.CONTEXT_CHANNELS
        self.read = self.layer(constants.ENTRY_CHANNELS, hidden, context)
        self.write = self.layer(hidden, 2, context)
        for weight in self.write.parameters():
            nn.init.zeros_(weight)
        self.schedule = nn.Linear(constants.SCHEDULE_CHANNELS, 2)
        nn.init.zeros_(self.schedule.weight)
        with torch.no_grad():
            start = (math.log(self.config.initial_lr), constants.INITIAL_LOG_RECENCY)
            self.schedule.bias.copy_(torch.tensor(start))

    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        """Step counts, momenta and mean square of the gradient, and the lead, as float32."""
        return _inputs.init_slots(param, batch_dims)

    def heading(self, params: Params, state: RuleState) -> Params:
        """The fast iterate."""
        return {n: p + state.slots[n]["lead"].to(p.dtype) for n, p in params.items()}

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step, see the class."""
        roles, dtype = roles_of(state.spec), self.schedule.bias.dtype
        spec = roles.spec
        slots = {
            p.name: _inputs.accumulate(state.slots[p.name], grads[p.name]) for p in roles.parameters
        }
        ordered = {p.name: params[p.name] for p in roles.parameters}
        readings, known = _inputs.read(spec, ordered, grads, slots)
        context = known.context.to(dtype)
        work = {p.name: _Work.open(p, readings[p.name], dtype) for p in roles.parameters}
        pooled = {n: self._pool(w) for n, w in work.items()}
        terms = self.read.terms(roles, pooled, context)
        hidden = {n: self._hidden(w, terms[n]) for n, w in work.items()}
        last = self.write.terms(roles, {n: pooled for n, (_, pooled) in hidden.items()}, context)
        sizes, recencies = self._pace(known).unbind()
        delta: dict[str, Tensor] = {}
        for i, (name, w) in enumerate(work.items()):
            lead = spec.view(name, slots[name]["lead"])
            pace = sizes[..., i], recencies[..., i]
            moves = self._move(w, hidden[name][0], last[name], lead.to(dtype), pace)
            moved, lead = (spec.unview(name, move) for move in moves)
            slots[name]["lead"] = lead.to(slots[name]["square"].dtype)
            delta[name] = moved.to(params[name].dtype)
        new = RuleState({n: slots[n] for n in params}, state.spec, state.batch_dims)
        return {n: delta[n] for n in params}, new

    def _pace(self, known: _inputs.Descriptors) -> Tensor:
        """Log step sizes, and recencies less the log of the time `(2, *batch, parameters)`.

        Beyond the fan-ins of meta-training steps shrink with them, so that what a neuron adds up
        moves as it did (Yang et al. 2022, arXiv 2203.03466, for Adam).
        """
        size, recency = self.schedule(
            known.schedule.to(self.schedule.bias.dtype).movedim(0, -1)
        ).unbind(-1)
        late = (known.step / constants.HORIZON).clamp(min=1).log()
        size = size - known.excess.to(size.dtype) - late
        return torch.stack([size, recency - known.step.clamp(max=constants.LONGEST).log()])

    def _pool(self, work: _Work) -> Means:
        return Means.join([self.read.pool(work.parameter, x) for x in work.slices])

    def _hidden(self, work: _Work, terms: Terms) -> tuple[list[Slice], Means]:
        """The last layer's output from each slice's own entries, and the pooled hidden channels."""
        outputs, pooled = [], []
        for x, term in zip(work.slices, terms.split(work.size), strict=True):
            p = work.parameter
            hidden = Slice.of(p, add_terms(p, self.read.entries(p, x), term).relu_())
            outputs.append(self.write.entries(p, hidden))
            pooled.append(self.write.pool(p, hidden))
        return outputs, Means.join(pooled)

    def _move(
        self,
        work: _Work,
        outputs: list[Slice],
        terms: Terms,
        lead: Tensor,
        pace: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """The parameter's update, and by how much the fast iterate leads afterwards."""
        size, recency = (p.reshape(p.shape + (1,) * work.axes) for p in pace)
        deltas, leads = [], []
        leading = (lead,) if len(outputs) == 1 else lead.split(work.size, -work.axes)
        parts = zip(work.slices, outputs, terms.split(work.size), leading, strict=True)
        for inputs, output, term, ahead in parts:
            magnitude, shift = add_terms(work.parameter, output, term)
            step = self._step(inputs.entries[constants.DIRECTION], magnitude, size)
            ahead = torch.sub(ahead, step, alpha=constants.BETA)
            caught = (shift + recency).sigmoid_() * ahead
            deltas.append(torch.sub(caught, step, alpha=1 - constants.BETA))
            leads.append(ahead - caught)
        if len(deltas) == 1:
            return deltas[0], leads[0]
        return torch.cat(deltas, -work.axes), torch.cat(leads, -work.axes)

    def _step(self, direction: Tensor, magnitude: Tensor, size: Tensor) -> Tensor:
        """What the fast iterate goes down by."""
        magnitude = magnitude.clamp(-constants.MAX_LOG_MAGNITUDE, constants.MAX_LOG_MAGNITUDE)
        return magnitude.add_(size).exp_() * direction

    @property
    def step_size(self) -> float:
        """Size of an entry's step where the network asks for no change, like a learning rate."""
        return math.exp(self.schedule.bias[0])

    def get_config(self) -> dict[str, float]:
        """The configuration as plain numbers, as a checkpoint stores it."""
        return asdict(self.config)


@dataclass(frozen=True)
class _Work:
    """One parameter during a step, in slices along its output axis.

    Attributes:
        parameter: How it is read.
        slices: Input channels of each slice.
        size: Outputs a slice.
        axes: Number of the parameter's axes.
    """

    parameter: ParameterAxes
    slices: list[Slice]
    size: int
    axes: int

    @classmethod
    def open(cls, parameter: ParameterAxes, reading: _inputs.Reading, dtype: torch.dtype) -> _Work:
        """Turns what was read into channels of the rule's type."""
        size = _slice_size(reading.tensors[0], reading.axes)
        slices = [Slice.of(parameter, x.to(dtype)) for x in reading.slices(size)]
        return cls(parameter, slices, size, reading.axes)


def _slice_size(param: Tensor, axes: int) -> int:
    """Outputs in equal slices that suit the caches and threads; all where a compiler fuses."""
    outputs = param.shape[-axes]
    if torch.compiler.is_compiling():
        return outputs
    entries = _SLICE_ENTRIES * (1 + torch.get_num_threads())
    slices = max(1, min(outputs, round(param.numel() / entries)))
    return math.ceil(outputs / slices)
