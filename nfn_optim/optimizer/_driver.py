"""What moves parameters: the rule, on every device by itself."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..native import step as native_step
from ..rules import (
    Kept,
    NFNRule,
    Params,
    Reads,
    RuleState,
    Slots,
    accumulate,
    is_narrow,
    keeping,
    narrowed,
    with_length,
)
from ..symmetry import NetworkSpec
from ._groups import Entry, all_usable, as_real, by_device, truths
from ._local import is_sharded, local
from ._placement import Placement
from ._rates import kept_share, rate_of
from ._shapes import check_live, check_values

if TYPE_CHECKING:
    from .sharded import Groups, Teams

_MOST_SPECS = 32  # of the sets of parameters with gradients: experts and layers come and go


@dataclass(eq=False)
class Driver:
    """Takes steps.

    Attributes:
        rule: The rule.
        placement: Where every parameter stands in the network.
        fused: Whether steps are native: where they can be had (None), always, or never.
        capturable: Whether the host never waits for a device: steps go through whatever gradients
            are, and the device drops those that are not usable.
        taken_steps: Steps that were taken.
        skipped_steps: Steps that were not taken because of their gradients.
        dropped_steps: Of these, what the device knows.
        norms: Of each update of the last step before the rate, and the rate.
    """

    rule: NFNRule
    placement: Placement
    fused: bool | None
    capturable: bool = False
    taken_steps: int = 0
    skipped_steps: int = 0
    dropped_steps: Tensor | None = None
    norms: list[tuple[Tensor, float]] = field(default_factory=list)
    _specs: dict[tuple[str, ...], NetworkSpec] = field(default_factory=dict)
    _slots: dict[tuple[Any, ...], dict[str, Tensor]] = field(default_factory=dict)
    _kept: Kept = field(default_factory=dict)
    _groups: Groups | None = None

    def __post_init__(self) -> None:
        self.rule.reads_all  # noqa: B018  looks at the weights, which compilers cannot

    def expected_slots(self, name: str, param: Tensor) -> dict[str, Tensor]:
        """Slots such as the rule gives a parameter, without memory: shapes and types."""
        reads = self._reads(name)
        key = (param.shape, param.dtype, *reads)
        if key not in self._slots:
            empty = torch.empty(param.shape, dtype=param.dtype, device="meta")
            self._slots[key] = self.rule.init_slots(as_real(empty), 0, reads)
        return self._slots[key]

    def extend(self, known: dict[str, Any], added: dict[str, Any]) -> None:
        """Places parameters that join later, by their shapes."""
        self.placement.extend(known, added)
        self._specs.clear()

    def step(self, entries: Sequence[Entry], state: MutableMapping[Tensor, Any]) -> None:
        """Moves parameters and writes their slots, device by device.

        Args:
            entries: Parameters with usable gradients.
            state: The slots of each parameter.

        Raises:
            ValueError: If no step can be taken on one of the parameters, see `check_live`; then
                nothing has changed.
        """
        parts = [self._part(here, state) for here in by_device(entries).values()]
        ready = [self._prepare(part) for part in parts]
        self.taken_steps += 1
        self.norms = []
        for part, native in zip(parts, ready, strict=True):
            self._move(part, native)
            for entry in part.entries:
                _write(state[entry.param], part.slots[entry.name], entry.param)

    def step_on_device(self, entries: Sequence[Entry], state: MutableMapping[Tensor, Any]) -> None:
        """As `step`, and nothing if gradients are not usable, which only the device finds out.

        State stays in the memory where it is, so that a CUDA graph can take the step again.

        Raises:
            ValueError: As for `step`, or if parameters are on several devices.
        """
        found = by_device(entries)
        if len(found) > 1:
            raise ValueError(
                f"capturable=True takes parameters on one device; these are on {list(found)}. "
                "Make an optimizer for each device, or leave capturable out."
            )
        with nullcontext() if torch.compiler.is_compiling() else keeping(self._kept):
            part = self._part(entries, state)
            self._prepare(part)
            for entry in entries:
                _write(state[entry.param], part.slots[entry.name], entry.param)
            self._place(part.device)
            usable = torch.stack(truths([entry.gradient for entry in entries])).all()
            self._note(usable)
            self._move_if(usable, part, state)

    def _note(self, usable: Tensor) -> None:
        self.taken_steps += 1
        if self.dropped_steps is None:
            self.dropped_steps = torch.zeros_like(usable, dtype=torch.int64)
        self.dropped_steps.add_(~usable)

    def _move_if(self, usable: Tensor, part: _Part, state: Mapping[Tensor, Any]) -> None:
        """Writes parameters and their state, in place, with what they were if it is not usable."""
        size = self.rule.schedule.bias[0].exp()
        with _without_autocast(part.device):
            delta, norms = self._delta(part)
        self.norms = []
        for entry, norm in zip(part.entries, norms, strict=True):
            lr, values = rate_of(entry.group), entry.values
            moved = values + lr * delta[entry.name].to(values.dtype)
            if entry.group["weight_decay"]:
                moved = moved - (1 - kept_share(entry.group, size)) * values
            values.copy_(torch.where(usable, moved, values))
            for key, slot in part.slots[entry.name].items():
                known = state[entry.param][key]
                known.copy_(torch.where(usable, slot, known))
            self.norms.append((torch.where(usable, norm, 0), lr))

    def can_step(self, entries: Sequence[Entry]) -> bool:
        """Whether all gradients are finite and small enough; of all processes, where cut."""
        usable = all_usable([entry.gradient for entry in entries])
        if not any(is_sharded(entry.param) for entry in entries):
            return usable
        teams = [(self._teams(here), device) for device, here in by_device(entries).items()]
        return all([usable, *(t.all_agree(usable, device) for t, device in teams if t is not None)])

    def _teams(self, entries: Sequence[Entry]) -> Teams | None:
        """The processes among which parameters are cut, if any are."""
        if not any(is_sharded(entry.param) for entry in entries):
            return None
        if self._groups is None:
            from .sharded import Groups  # a second to import, which others do not wait for

            self._groups = Groups()
        params = {entry.name: entry.param for entry in entries}
        dtypes = {n: self.expected_slots(n, p)["lead"].dtype for n, p in params.items()}
        return self._groups.teams(params, dtypes)

    def _part(self, entries: Sequence[Entry], state: Mapping[Tensor, Any]) -> _Part:
        """Looks the parameters on a device up; nothing is written."""
        teams = self._teams(entries)
        known = self._known(entries, state, is_cut=teams is not None)
        new = {e.name: e for e in entries if not known[e.name]}
        steps = {name: entry.group["num_steps"] for name, entry in new.items()}
        for name, entry in new.items():
            check_values(name, entry.shape, entry.values, self.placement.shape_of(name))
        if teams is None:
            made = {
                n: with_length(self.rule.init_slots(e.values, 0, self._reads(n)), steps[n])
                for n, e in new.items()
            }
        else:
            from .sharded import init_slots

            params = {n: e.param for n, e in new.items()}
            reads = {n: self._reads(n) for n in new}
            made = init_slots(self.rule, params, reads, steps, teams)
        slots = known | made
        is_whole = teams is None and all(map(is_narrow, slots.values()))
        spec = self._whole_spec() if is_whole else self._spec(tuple(e.name for e in entries))
        return _Part(list(entries), spec, slots, teams)

    def _known(self, entries: Sequence[Entry], state: Mapping[Tensor, Any], is_cut: bool) -> Slots:
        """What is here of the state, without what the rule reads no longer; new ones have none."""
        known = {entry.name: dict(state.get(entry.param, {})) for entry in entries}
        if is_cut:
            known = {n: {k: local(x) for k, x in slots.items()} for n, slots in known.items()}
        wide = {e.name: e for e in entries if known[e.name] and not is_narrow(known[e.name])}
        if wide and not self.rule.reads_all:
            for name, entry in wide.items():
                expected = self.expected_slots(name, local(entry.param))
                known[name] = narrowed(known[name], expected)
        return known

    def _prepare(self, part: _Part) -> native_step.Step | None:
        """The native step, if it is wanted, possible, and, if not asked for, to be had.

        Raises:
            ValueError: If it is not, and torch cannot take the step either.
        """
        may_be = self.fused is not False and not self.capturable and part.teams is None
        if may_be and part.device.type == "cpu":
            self._place(part.device)
            native = native_step.prepare(self.rule, part.params, part.grads, part.slots, part.spec)
            if native is not None and (self.fused or native_step.LIBRARY.can_load()):
                native_step.LIBRARY.load()  # raises here, where nothing has moved
                return native
        for entry in part.entries:
            stored = self.placement.shape_of(entry.name)
            expected = self.expected_slots(entry.name, local(entry.param))
            tensors = entry.values, entry.gradient, part.slots[entry.name]
            check_live(entry.name, entry.shape, *tensors, stored, expected)
        return None

    def _move(self, part: _Part, native: native_step.Step | None) -> None:
        decays = any(entry.group["weight_decay"] for entry in part.entries)
        size = self.rule.step_size if decays else 0.0
        groups = [entry.group for entry in part.entries]
        rates = [(float(rate_of(group)), float(kept_share(group, size))) for group in groups]
        if native is not None:
            norms: Sequence[Tensor] = native.take(rates).unbind()
        else:
            self._place(part.device)
            with _without_autocast(part.device):
                delta, norms = self._delta(part)
            for (name, param), (lr, keep) in zip(part.params.items(), rates, strict=True):
                if keep != 1:
                    param.mul_(keep)
                param.add_(delta[name], alpha=lr)
        lrs = (lr for lr, _ in rates)
        self.norms.extend(zip(norms, lrs, strict=True))

    def _delta(self, part: _Part) -> tuple[Params, Sequence[Tensor]]:
        """What the rule adds to parameters, and norms; slots are taken over."""
        params, grads, state = part.params, part.grads, RuleState(part.slots, part.spec)
        if part.teams is not None:
            from .sharded import move

            is_alone = self._is_alone() or not self.rule.reads_all
            delta, slots = move(self.rule, params, grads, state, part.teams, is_alone)
            part.slots.update(slots)
            norms = torch.stack(torch._foreach_norm([delta[n] for n in params]))
            _, whole = part.teams.totals(list(params), norms[None][:0], norms[None])
            return delta, whole[0].unbind()
        if self._is_alone():
            slots = {n: accumulate(state.slots[n], grads[n]) for n in params}
            delta, slots = self.rule.move_parts(params, grads, RuleState(slots, part.spec))
        else:
            delta, new = self.rule(params, grads, state)
            slots = new.slots
        part.slots.update(slots)
        return delta, torch._foreach_norm([delta[n] for n in params])

    def _place(self, device: torch.device) -> None:
        """As `rule.to(device)`, which takes a while even where nothing is to be moved."""
        first = next(chain(self.rule.parameters(), self.rule.buffers()), None)
        if first is not None and first.device != device:
            self.rule.move_to(device)

    def _is_alone(self) -> bool:
        """Whether steps can do without NF-Layers, and without what the user compiled."""
        return self.rule.reads_alone and self.rule._compiled_call_impl is None

    def _reads(self, name: str) -> Reads:
        return self.rule.reads(self.placement.spec, name)

    def _whole_spec(self) -> NetworkSpec:
        """The spec for whatever parameters, where each is read alone: of all that have entries."""
        stored = self.placement.spec.stored
        return self._spec(tuple(n for n, shape in stored.items() if 0 not in shape))

    def _spec(self, names: tuple[str, ...]) -> NetworkSpec:
        """The spec of the parameters at hand; gradients may be missing, layers may be elsewhere."""
        if names not in self._specs:
            while len(self._specs) >= _MOST_SPECS:
                del self._specs[next(iter(self._specs))]
            self._specs[names] = self.placement.spec.subset(names)
        return self._specs[names]


@dataclass(frozen=True)
class _Part:
    """Parameters on one device in a step.

    Attributes:
        entries: The parameters.
        spec: The spec of them alone.
        slots: Their state; new slots where there are none yet.
        teams: The processes among which they are cut, if they are.
    """

    entries: list[Entry]
    spec: NetworkSpec
    slots: Slots
    teams: Teams | None

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.entries[0].param.device

    @property
    def params(self) -> Params:
        """Tensors by name."""
        return {entry.name: entry.values for entry in self.entries}

    @property
    def grads(self) -> Params:
        """Gradients by name."""
        return {entry.name: entry.gradient for entry in self.entries}


def _write(state: MutableMapping[str, Any], slots: Mapping[str, Tensor], param: Tensor) -> None:
    if len(state) > len(slots):  # some are no longer read
        for key in state.keys() - slots.keys():
            del state[key]
    if is_sharded(param):
        from .sharded import write_slots

        write_slots(state, slots, param)
    else:
        state.update(slots)


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Steps are taken in the types of the tensors, wherever a user calls them."""
    is_on = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if is_on else nullcontext()
