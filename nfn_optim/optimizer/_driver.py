"""What moves parameters: the rule, on every device by itself."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..native import step as native_step
from ..rules import NFNRule, Params, Reads, RuleState, Slots, with_length
from ..symmetry import NetworkSpec
from ._groups import Entry, as_real
from ._placement import Placement
from ._rates import kept_share, rate_of
from ._shapes import check_live

_MOST_SPECS = 32  # of the sets of parameters with gradients: experts and layers come and go


@dataclass(eq=False)
class Driver:
    """Takes steps.

    Attributes:
        rule: The rule.
        placement: Where every parameter stands in the network.
        fused: Whether steps are native: where they can be had (None), always, or never.
        taken_steps: Steps that were taken.
        skipped_steps: Steps that were not taken because of their gradients.
        norms: Of the updates of the last step before the rates, and the rates, for each device.
    """

    rule: NFNRule
    placement: Placement
    fused: bool | None
    taken_steps: int = 0
    skipped_steps: int = 0
    norms: list[tuple[Tensor, list[Any]]] = field(default_factory=list)
    _specs: dict[tuple[str, ...], NetworkSpec] = field(default_factory=dict)
    _slots: dict[tuple[Any, ...], dict[str, Tensor]] = field(default_factory=dict)

    def expected_slots(self, name: str, param: Tensor) -> dict[str, Tensor]:
        """Slots such as the rule gives a parameter, without memory: shapes and types."""
        reads = self._reads(name)
        key = (param.shape, param.dtype, reads)
        if key not in self._slots:
            empty = torch.empty_like(as_real(param.detach()), device="meta")
            self._slots[key] = self.rule.init_slots(empty, 0, reads)
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
        devices = {entry.param.device for entry in entries}
        # The native step first: other devices take the rule's weights away from the CPU.
        ordered = sorted(devices, key=lambda device: device.type != "cpu")
        parts = [self._part(device, entries, state) for device in ordered]
        ready = [self._prepare(part) for part in parts]
        self.taken_steps += 1
        self.norms = []
        for part, native in zip(parts, ready, strict=True):
            self._move(part, native)
            for entry in part.entries:
                state[entry.param].update(part.slots[entry.name])

    def _part(
        self, device: torch.device, entries: Sequence[Entry], state: Mapping[Tensor, Any]
    ) -> _Part:
        """Looks the parameters on a device up; nothing is written."""
        here = [entry for entry in entries if entry.param.device == device]
        slots = {
            entry.name: dict(state.get(entry.param, ()))
            or with_length(
                self.rule.init_slots(entry.values, 0, self._reads(entry.name)),
                entry.group["num_steps"],
            )
            for entry in here
        }
        return _Part(here, self._spec(tuple(entry.name for entry in here)), slots)

    def _prepare(self, part: _Part) -> native_step.Step | None:
        """The native step, if it is wanted, possible, and, if not asked for, to be had.

        Raises:
            ValueError: If it is not, and torch cannot take the step either.
        """
        if self.fused is not False and part.device.type == "cpu":
            _place(self.rule, part.device)
            native = native_step.prepare(self.rule, part.params, part.grads, part.slots, part.spec)
            if native is not None and (self.fused or native_step.LIBRARY.can_load()):
                native_step.LIBRARY.load()  # raises here, where nothing has moved
                return native
        for entry in part.entries:
            stored = self.placement.shape_of(entry.name)
            expected = self.expected_slots(entry.name, entry.param)
            slots = part.slots[entry.name]
            check_live(entry.name, entry.values, entry.gradient, slots, stored, expected)
        return None

    def _move(self, part: _Part, native: native_step.Step | None) -> None:
        decays = any(entry.group["weight_decay"] for entry in part.entries)
        size = self.rule.step_size if decays else 0.0
        groups = [entry.group for entry in part.entries]
        rates = [(rate_of(group), kept_share(group, size)) for group in groups]
        if native is not None:
            norms = native.take(rates)
        else:
            _place(self.rule, part.device)
            delta, new = self.rule(part.params, part.grads, RuleState(part.slots, part.spec))
            norms = torch.stack([n.float() for n in torch._foreach_norm(list(delta.values()))])
            part.slots.update(new.slots)
            for (name, param), (lr, keep) in zip(part.params.items(), rates, strict=True):
                if keep != 1:
                    param.mul_(keep)
                param.add_(delta[name], alpha=lr)
        self.norms.append((norms, [lr for lr, _ in rates]))

    def _reads(self, name: str) -> Reads:
        return self.rule.reads(self.placement.spec, name)

    def _spec(self, names: tuple[str, ...]) -> NetworkSpec:
        """The spec of the parameters at hand; gradients may be missing, layers may be elsewhere.

        A rule that has learned nothing reads each of them alone, so that one spec serves all sets.
        """
        if not self.rule.is_learned:
            names = tuple(n for n, shape in self.placement.spec.stored.items() if 0 not in shape)
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
    """

    entries: list[Entry]
    spec: NetworkSpec
    slots: Slots

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.entries[0].param.device

    @cached_property
    def params(self) -> Params:
        """Tensors by name."""
        return {entry.name: entry.values for entry in self.entries}

    @cached_property
    def grads(self) -> Params:
        """Gradients by name."""
        return {entry.name: entry.gradient for entry in self.entries}


def _place(rule: NFNRule, device: torch.device) -> None:
    """As `rule.to(device)`, which takes a while even where nothing is to be moved."""
    first = next(chain(rule.parameters(), rule.buffers()), None)
    if first is not None and first.device != device:
        rule.to(device)
