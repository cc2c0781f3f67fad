"""The learned optimizer: NF-Layers on weights and gradients write steps that are averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

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
from ..symmetry import NetworkSpec
from . import _inputs, _slots, constants
from ._averaging import ScheduleFree
from ._base import Params, RuleState, Slots, UpdateRule
from ._config import NFNRuleConfig
from ._direction import Spectral
from ._pace import Pace, Paces
from ._scaling import shrunk
from ._share import ALONE, Share

_SLICE_ENTRIES = 8_000  # for every thread, and once more, so that hidden channels stay in cache


class NFNRule(UpdateRule):
    """A fast iterate that takes learned steps, and parameters that average it.

    It is composed of three parts. `direction` says where an entry's step points: the polar factor
    of a short momentum, as in Muon, smaller along what has always been steep, and Adam's direction
    for vectors.
    `averaging` lets the parameters follow the fast iterate as in Schedule-Free AdamW, so that steps
    can stay large and their noise does not reach the parameters, whatever the length of the run.
    The third part is learned. `schedule` reads the time, the fans and the trend of gradients and
    writes a log size and a log recency for each parameter. Two NF-Layers, `read` and `write`, read
    the weight-space tuple of weights, gradients and momenta and write a magnitude and a recency for
    each entry. An entry's step and the weight of its newest position in the average are then

        step = exp(log_size + trust * magnitude) * direction
        rate = sigmoid(log_recency + trust * recency - log(steps so far)).

    Magnitudes have mean zero over each parameter, so the geometric mean of what they make of steps
    is one: how large a parameter's steps are is said by its log size alone. Entries whose magnitude
    is clamped are left out of this law, and the root mean square may differ from one where
    magnitudes do. `trust` is one within the limits of meta-training, and zero far beyond them,
    where log size and log recency are those of the untrained rule, too. Matrices are scaled as a
    whole, beside that, see the module `_scaling`.

    Magnitude and recency start at zero, so an untrained rule is a Schedule-Free Muon with
    a memory at `initial_lr`. The rule runs on any network: it holds no shape of the network it
    trains.

    Args:
        config: Shape of the rule.
    """

    layer: type[SharedNPLinear] | type[SharedPointwise] = SharedNPLinear

    def __init__(self, config: NFNRuleConfig | None = None) -> None:
        super().__init__()
        self.config = config or NFNRuleConfig()
        self.direction = Spectral(steep=self.config.steep)
        self.averaging = ScheduleFree()
        hidden, context = self.config.hidden, constants.CONTEXT_CHANNELS
        self.read = self.layer(constants.ENTRY_CHANNELS, hidden, context)
        self.write = self.layer(hidden, 2, context)
        for weight in self.write.parameters():
            nn.init.zeros_(weight)
        self.schedule = Pace(self.config)
        self._seen = _Seen()

    def init_slots(
        self, param: Tensor, batch_dims: int, reads: _slots.Reads = _slots.ALL
    ) -> dict[str, Tensor]:
        """Step counts, momenta and mean square of the gradient, and the lead, as float32.

        Args:
            param: The parameter.
            batch_dims: Its leading batch axes.
            reads: What there is to be; see the method of this name.
        """
        return _slots.init_slots(param, batch_dims, reads)

    @property
    def reads_all(self) -> bool:
        """Whether steps read all that is kept of gradients: all momenta and the mean square.

        They do where layers write something, where the schedule reads how steady gradients are, and
        where such weights are being learned. Else they read the shortest momentum alone.
        """
        return self._look().reads_all

    @property
    def reads_alone(self) -> bool:
        """Whether entries have no magnitude and recency of their own: nothing is written yet."""
        return self._look().reads_alone

    def move_to(self, device: torch.device) -> None:
        """As `to`, and what weights come to need not be looked at again, for which hosts wait."""
        seen = self._look()
        self.to(device)
        self._seen = replace(seen, weights=self._weights_now())

    def _look(self) -> _Seen:
        """What weights come to, looked at where they have changed and nothing is compiling."""
        if torch.compiler.is_compiling():
            return self._seen
        now = self._weights_now()
        if self._seen.weights != now:  # looking at numbers takes longer than all else here
            layer, schedule = list(self.write.parameters()), self.schedule.weight
            trends = schedule[:, constants.SCHEDULE_CHANNELS :][:, : constants.WIDE_TRENDS]
            is_another = type(self).forward is not NFNRule.forward
            is_written = is_another or any(bool(w.any()) for w in layer)
            is_open = any(w.requires_grad for w in (*layer, schedule)) or bool(trends.any())
            is_unknown = any(w.is_inference() for w in layer)  # they change without a word
            self._seen = _Seen(now, is_written or is_open, not (is_written or is_unknown))
        return self._seen

    def _weights_now(self) -> list[Any]:
        """Changes when weights do that are looked at."""
        weights: list[Tensor] = [w for w in self.write._parameters.values() if w is not None]
        weights.append(self.schedule.weight)
        return [(id(w), w.requires_grad, w.is_inference() or w._version) for w in weights]

    def new_slots(
        self, name: str, param: Tensor, spec: NetworkSpec, batch_dims: int = 0
    ) -> dict[str, Tensor]:
        """All that may be kept of a parameter of this network."""
        reads = self.direction.reads(roles_of(spec).spec, name)
        return self.init_slots(param, batch_dims, reads)

    def reads(self, spec: NetworkSpec, name: str) -> _slots.Reads:
        """Which slots steps of a parameter depend on, with the weights as they are now."""
        return self.direction.reads(roles_of(spec).spec, name, self.reads_all)

    def heading(self, params: Params, state: RuleState) -> Params:
        """The fast iterate."""
        return {n: p + state.slots[n]["lead"].to(p.dtype) for n, p in params.items()}

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step, see the class."""
        slots = {n: _slots.accumulate(state.slots[n], grads[n]) for n in params}
        move = self.move_parts if all(map(_slots.is_narrow, slots.values())) else self.move
        delta, slots = move(params, grads, RuleState(slots, state.spec, state.batch_dims))
        new = RuleState({n: slots[n] for n in params}, state.spec, state.batch_dims)
        return {n: delta[n] for n in params}, new

    def move(
        self, params: Params, grads: Params, state: RuleState, share: Share = ALONE
    ) -> tuple[Params, Slots]:
        """The part of a step that reads the network, after `accumulate`.

        Args:
            params: All parameters, or those that are here.
            grads: Likewise.
            state: Slots that hold the gradients already; of parameters that are elsewhere only
                those of one number.
            share: Knows the other parameters.

        Returns:
            Changes of the parameters that are here, and slots of all.
        """
        roles, dtype = roles_of(state.spec), self.schedule.bias.dtype
        spec, slots = roles.spec, {p.name: state.slots[p.name] for p in roles.parameters}
        here = [p for p in roles.parameters if p.name in params]
        ordered = {p.name: params[p.name] for p in here}
        shown = self.config.limits.weight_size, self.config.first_share
        readings, known, steep = _inputs.read(
            spec, ordered, grads, slots, self.direction, *shown, share
        )
        context = known.context.to(dtype)
        work = {p.name: _Work.open(p, readings[p.name], dtype) for p in here}
        pooled = {n: self._pool(w) for n, w in work.items()}
        first = share.means(roles, pooled, context.new_zeros(constants.ENTRY_CHANNELS, 1))
        terms = self.read.terms(roles, first, context)
        hidden = {n: self._hidden(w, terms[n]) for n, w in work.items()}
        of_hidden = {n: pooled for n, (_, pooled) in hidden.items()}
        second = share.means(roles, of_hidden, context.new_zeros(self.config.hidden, 1))
        last = self.write.terms(roles, second, context)
        if self.config.centred:
            for n, w in work.items():
                last[n] = self._centred(w.parameter, of_hidden[n], last[n])
        paces = self.schedule.pace(known)
        delta: dict[str, Tensor] = {}
        slots = known.noted(slots)
        for i, p in enumerate(roles.parameters):
            if p.name not in work:
                continue
            name, w = p.name, work[p.name]
            lead = spec.view(name, slots[name]["lead"])
            pace = paces.of(i, w.axes)
            moves = self._move(w, hidden[name][0], last[name], lead.to(dtype), pace)
            moved, lead = (spec.unview(name, move) for move in moves)
            slots[name]["lead"] = lead.to(slots[name]["square"].dtype)
            slots[name] |= {"steep": steep[name]} if name in steep else {}
            if self.config.scaling and (pointed := readings[name].pointed) is not None:
                direction = spec.unview(name, pointed)
                shrinking = paces.of(i, len(spec.stored[name])).shrinking
                moved = moved - shrunk(params[name], direction, shrinking).to(dtype)
            delta[name] = moved.to(params[name].dtype)
        return delta, slots

    def move_parts(
        self,
        params: Params,
        grads: Params,
        state: RuleState,
        share: Share = ALONE,
        point: Callable[[Params], tuple[Params, Params]] | None = None,
    ) -> tuple[Params, Slots]:
        """As `move` without NF-Layers, where `reads_alone`: of any entries of each parameter.

        Args:
            params: What is here of all parameters, as many axes as are stored.
            grads: Likewise.
            state: Slots that hold the gradients already, likewise; its spec may have more.
            share: Knows the other entries.
            point: As `point`, of momenta alone, if not all entries are here.
        """
        roles, dtype = roles_of(state.spec), self.schedule.bias.dtype
        names = [p.name for p in roles.parameters if p.name in state.slots]
        slots = {n: state.slots[n] for n in names}
        shown = self.config.limits.weight_size, self.config.first_share
        args = (roles.spec, params, grads, slots, self.direction, *shown, share)
        known, scales = _inputs.describe(*args)
        paces, slots = self.schedule.pace(known), known.noted(slots)
        matrices = self.direction.matrices(roles.spec)
        momenta = {n: slots[n]["momenta"][0] for n in params if n in matrices}
        pointed, steep = point(momenta) if point else self.point(state.spec, momenta, slots)
        delta: dict[str, Tensor] = {}
        for i, (name, slot) in enumerate(slots.items()):
            pace = paces.of(i, params[name].dim())
            direction = _inputs.aim(slot, scales[name], pointed.get(name)).to(dtype)
            before = slot["lead"]
            step, rate = pace.sizes.exp() * direction, pace.recencies.sigmoid()
            moved, lead = self.averaging.move(before.to(dtype), step, rate)
            slot["lead"] = lead.to(before.dtype)
            slot |= {"steep": steep[name]} if name in steep else {}
            if self.config.scaling and name in pointed:
                moved = moved - shrunk(params[name], direction, pace.shrinking).to(dtype)
            delta[name] = moved.to(params[name].dtype)
        return delta, slots

    def point(
        self, spec: NetworkSpec, momenta: Params, slots: Mapping[str, dict[str, Tensor]]
    ) -> tuple[Params, Params]:
        """Directions of whole matrices, from momenta as they are stored, and like them.

        Args:
            spec: The network's spec.
            momenta: By name.
            slots: Of these parameters.

        Returns:
            The directions, and the new memory of each parameter that has one.
        """
        spec = roles_of(spec).spec
        views = {n: spec.view(n, x) for n, x in momenta.items()}
        found, steep = self.direction(spec, views, slots)
        return {n: spec.unview(n, x) for n, x in found.items()}, steep

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

    def _centred(self, parameter: ParameterAxes, pooled: Means, terms: Terms) -> Terms:
        """Takes from the magnitude its mean over all entries, which is known before they are."""
        mean = self.write.average(parameter, pooled)[0] + terms.rows[0].mean(-1)
        if terms.cols is not None:
            mean = mean + terms.cols[0].mean(-1)
        magnitude, recency = terms.rows
        return Terms(torch.stack([magnitude - mean.unsqueeze(-1), recency]), terms.cols)

    def _move(
        self,
        work: _Work,
        outputs: list[Slice],
        terms: Terms,
        lead: Tensor,
        pace: Paces,
    ) -> tuple[Tensor, Tensor]:
        """The parameter's update, and by how much the fast iterate leads afterwards."""
        size, recency, trust = pace.sizes, pace.recencies, pace.trusts
        deltas, leads = [], []
        leading = (lead,) if len(outputs) == 1 else lead.split(work.size, -work.axes)
        parts = zip(work.slices, outputs, terms.split(work.size), leading, strict=True)
        for inputs, output, term, ahead in parts:
            magnitude, shift = add_terms(work.parameter, output, term)
            step = self._step(inputs.entries[constants.DIRECTION], magnitude, size, trust)
            rate = torch.addcmul(recency, shift, trust).sigmoid_()
            delta, ahead = self.averaging.move(ahead, step, rate)
            deltas.append(delta)
            leads.append(ahead)
        if len(deltas) == 1:
            return deltas[0], leads[0]
        return torch.cat(deltas, -work.axes), torch.cat(leads, -work.axes)

    def _step(self, direction: Tensor, magnitude: Tensor, size: Tensor, trust: Tensor) -> Tensor:
        """What the fast iterate goes down by."""
        magnitude = magnitude.clamp(-constants.MAX_LOG_MAGNITUDE, constants.MAX_LOG_MAGNITUDE)
        return torch.addcmul(size, magnitude, trust).exp_() * direction

    @property
    def step_size(self) -> float:
        """Size of an entry's step where the network asks for no change, like a learning rate."""
        return self.schedule.step_size

    def get_config(self) -> dict[str, Any]:
        """The configuration as plain numbers, as a checkpoint stores it."""
        return asdict(self.config)


@dataclass(frozen=True)
class _Seen:
    """What a rule's weights come to.

    Attributes:
        weights: `_weights_now` when they were looked at.
        reads_all: As for the rule, like the other.
        reads_alone: Likewise.
    """

    weights: list[Any] = field(default_factory=list)
    reads_all: bool = True
    reads_alone: bool = False


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
