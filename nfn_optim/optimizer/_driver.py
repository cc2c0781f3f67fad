"""What moves parameters: the learned rule and the fallback, each for its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from ..native import step as native_step
from ..rules import NFNRule, Params, RuleState, Slots
from ..symmetry import NetworkSpec
from ._coverage import Assignment
from ._fallback import NO_SPEC, FallbackRule
from ._groups import Entry
from ._shapes import check_live


@dataclass(eq=False)
class Driver:
    """Takes steps with the rule that each parameter is assigned to.

    Attributes:
        rule: The learned rule.
        assignment: Which parameters it drives; the fallback drives the others.
        fused: Whether steps are native: where they can be had (None), always, or never.
        fallback: The other rule.
        skipped_steps: Steps that were not taken because of their gradients.
        norms: Of each update of the last step before the rate, and the rate, by driver.
    """

    rule: NFNRule
    assignment: Assignment
    fused: bool | None
    fallback: FallbackRule = field(default_factory=FallbackRule)
    skipped_steps: int = 0
    norms: dict[str, list[tuple[Tensor, float]]] = field(default_factory=dict)
    _specs: dict[tuple[str, ...], NetworkSpec] = field(default_factory=dict)
    _slots: dict[tuple[Any, ...], dict[str, Tensor]] = field(default_factory=dict)

    def rule_of(self, name: str) -> NFNRule | FallbackRule:
        """The rule that drives a parameter."""
        return self.rule if self.assignment.covers(name) else self.fallback

    def expected_slots(self, name: str, param: Tensor) -> dict[str, Tensor]:
        """Slots such as a parameter's rule gives it, without memory: shapes and types."""
        rule, key = self.rule_of(name), (self.assignment.covers(name), param.shape, param.dtype)
        if key not in self._slots:
            self._slots[key] = rule.init_slots(torch.empty_like(param, device="meta"), 0)
        return self._slots[key]

    def extend(self, known: dict[str, Any], added: dict[str, Any]) -> None:
        """Assigns parameters that join later, by their shapes."""
        self.assignment.extend(known, added)
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
        parts = [part for device in ordered for part in self._parts_of(device, entries, state)]
        ready = [self._prepare(part) for part in parts]
        self.norms = {}
        for part, native in zip(parts, ready, strict=True):
            self._move(part, native)
            for entry in part.entries:
                state[entry.param].update(part.slots[entry.name])

    def _parts_of(
        self, device: torch.device, entries: Sequence[Entry], state: Mapping[Tensor, Any]
    ) -> Iterator[_Part]:
        here = [entry for entry in entries if entry.param.device == device]
        covered = [entry for entry in here if self.assignment.covers(entry.name)]
        others = [entry for entry in here if not self.assignment.covers(entry.name)]
        if covered:
            spec = self._spec(tuple(entry.name for entry in covered))
            yield _Part.of("nfn", self.rule, covered, state, spec)
        if others:
            yield _Part.of("fallback", self.fallback, others, state, NO_SPEC)

    def _prepare(self, part: _Part) -> native_step.Step | None:
        """The native step, if it is wanted, possible, and, if not asked for, to be had.

        Raises:
            ValueError: If it is not, and torch cannot take the step either.
        """
        rule, may_be_native = part.rule, self.fused is not False and part.device.type == "cpu"
        if may_be_native and isinstance(rule, NFNRule):
            _place(rule, part.device)
            native = native_step.prepare(rule, part.params, part.grads, part.slots, part.spec)
            if native is not None and (self.fused or native_step.LIBRARY.can_load()):
                native_step.LIBRARY.load()  # raises here, where nothing has moved
                return native
        for entry in part.entries:
            stored = self.assignment.shape_of(entry.name)
            expected = self.expected_slots(entry.name, entry.param)
            check_live(entry.name, entry.param, part.slots[entry.name], stored, expected)
        return None

    def _move(self, part: _Part, native: native_step.Step | None) -> None:
        decays = any(entry.group["weight_decay"] for entry in part.entries)
        size = part.rule.step_size if decays else 0.0
        rates = [(entry.group["lr"], kept_share(entry.group, size)) for entry in part.entries]
        if native is not None:
            norms: Sequence[Tensor] = native.take(rates)
        else:
            _place(part.rule, part.device)
            delta, new = part.rule(part.params, part.grads, RuleState(part.slots, part.spec))
            norms = torch._foreach_norm(list(delta.values()))
            part.slots.update(new.slots)
            for (name, param), (lr, keep) in zip(part.params.items(), rates, strict=True):
                if keep != 1:
                    param.mul_(keep)
                param.add_(delta[name], alpha=lr)
        lrs = (lr for lr, _ in rates)
        self.norms.setdefault(part.driver, []).extend(zip(norms, lrs, strict=True))

    def _spec(self, names: tuple[str, ...]) -> NetworkSpec:
        """The spec of the parameters at hand; gradients may be missing, layers may be elsewhere."""
        spec = self.assignment.spec
        assert spec is not None
        if names not in self._specs:
            self._specs[names] = spec.subset(names)
        return self._specs[names]


@dataclass(frozen=True)
class _Part:
    """Parameters on one device that one rule drives, in a step.

    Attributes:
        driver: What the rule is called.
        rule: The rule.
        entries: The parameters.
        spec: The spec of them alone.
        params: Their tensors by name.
        grads: Their gradients.
        slots: Their state; new slots where there are none yet.
    """

    driver: str
    rule: NFNRule | FallbackRule
    entries: list[Entry]
    spec: NetworkSpec
    params: Params
    grads: Params
    slots: Slots

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.entries[0].param.device

    @classmethod
    def of(
        cls,
        driver: str,
        rule: NFNRule | FallbackRule,
        entries: list[Entry],
        state: Mapping[Tensor, Any],
        spec: NetworkSpec,
    ) -> _Part:
        """Looks parameters up; nothing is written."""
        params = {entry.name: entry.param for entry in entries}
        grads = {entry.name: entry.gradient for entry in entries}
        slots = {
            entry.name: dict(state.get(entry.param, ()))
            or rule.new_slots(entry.param, num_steps=entry.group["num_steps"])
            for entry in entries
        }
        return cls(driver, rule, entries, spec, params, grads, slots)


def kept_share(group: Mapping[str, Any], step_size: float | Tensor) -> Any:
    """What decoupled weight decay leaves of a group's parameters in a step: AdamW's formula.

    Args:
        group: Its `lr` and `weight_decay` count.
        step_size: The rule's, in place of AdamW's learning rate.
    """
    return 1 - group["lr"] * step_size * group["weight_decay"]


def _place(rule: NFNRule | FallbackRule, device: torch.device) -> None:
    """As `rule.to(device)`, which takes a while even where nothing is to be moved."""
    first = next(chain(rule.parameters(), rule.buffers()), None)
    if first is not None and first.device != device:
        rule.to(device)
