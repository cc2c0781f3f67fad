"""What moves parameters: the learned rule and the fallback, each for its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..native import step as native_step
from ..rules import NFNRule, Params, RuleState, Slots
from ..symmetry import NetworkSpec
from ._coverage import Assignment
from ._fallback import NO_SPEC, FallbackRule
from ._groups import Entry
from ._shapes import check_live

_Rule = TypeVar("_Rule", NFNRule, FallbackRule)


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
    _parts: dict[tuple[str, ...], NetworkSpec] = field(default_factory=dict)
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

    def check(self, entries: Sequence[Entry], state: Mapping[Tensor, dict[str, Tensor]]) -> None:
        """Refuses parameters that no step can be taken on, see `check_live`."""
        for entry in entries:
            name, param = entry.name, entry.param
            stored, slots = self.assignment.shape_of(name), self.expected_slots(name, param)
            check_live(name, param, state.get(param, {}), stored, slots)

    def extend(self, known: dict[str, Any], added: dict[str, Any]) -> None:
        """Assigns parameters that join later, by their shapes."""
        self.assignment.extend(known, added)
        self._parts.clear()

    def step(self, entries: Sequence[Entry], slots: Callable[[Tensor], dict[str, Tensor]]) -> None:
        """Moves parameters and writes their slots, device by device.

        Args:
            entries: Parameters with usable gradients.
            slots: The state of a parameter, which is written to.
        """
        self.norms = {}
        for device in {entry.param.device for entry in entries}:
            here = [entry for entry in entries if entry.param.device == device]
            covered = [entry for entry in here if self.assignment.covers(entry.name)]
            others = [entry for entry in here if not self.assignment.covers(entry.name)]
            if covered:
                spec = self._part(tuple(entry.name for entry in covered))
                self._apply("nfn", _placed(self.rule, device), covered, slots, spec)
            if others:
                self._apply("fallback", _placed(self.fallback, device), others, slots, NO_SPEC)

    def _apply(
        self,
        driver: str,
        rule: NFNRule | FallbackRule,
        entries: Sequence[Entry],
        slots: Callable[[Tensor], dict[str, Tensor]],
        spec: NetworkSpec,
    ) -> None:
        params = {entry.name: entry.param for entry in entries}
        grads = {entry.name: entry.gradient for entry in entries}
        held = {
            entry.name: dict(slots(entry.param))
            or rule.new_slots(entry.param, num_steps=entry.group["num_steps"])
            for entry in entries
        }
        decays = any(entry.group["weight_decay"] for entry in entries)
        size = rule.step_size if decays else 0.0
        rates = [(entry.group["lr"], kept_share(entry.group, size)) for entry in entries]
        if isinstance(rule, NFNRule) and self._is_fused(rule, params, grads, held):
            norms: Sequence[Tensor] = native_step.step(rule, params, grads, held, spec, rates)
        else:
            delta, new = rule(params, grads, RuleState(held, spec))
            norms, held = torch._foreach_norm(list(delta.values())), new.slots
            for entry, (lr, keep) in zip(entries, rates, strict=True):
                if keep != 1:
                    entry.param.mul_(keep)
                entry.param.add_(delta[entry.name], alpha=lr)
        for entry in entries:
            slots(entry.param).update(held[entry.name])
        lrs = (lr for lr, _ in rates)
        self.norms.setdefault(driver, []).extend(zip(norms, lrs, strict=True))

    def _is_fused(self, rule: NFNRule, params: Params, grads: Params, slots: Slots) -> bool:
        """Whether the native step is wanted, possible, and, if not asked for, to be had."""
        if self.fused is False or not native_step.fits(rule, params, grads, slots):
            return False
        return self.fused or native_step.LIBRARY.can_load()

    def _part(self, names: tuple[str, ...]) -> NetworkSpec:
        """The spec of the parameters at hand; gradients may be missing, layers may be elsewhere."""
        spec = self.assignment.spec
        assert spec is not None
        if names not in self._parts:
            self._parts[names] = spec.subset(names)
        return self._parts[names]


def kept_share(group: Mapping[str, Any], step_size: float | Tensor) -> Any:
    """What decoupled weight decay leaves of a group's parameters in a step: AdamW's formula.

    Args:
        group: Its `lr` and `weight_decay` count.
        step_size: The rule's, in place of AdamW's learning rate.
    """
    return 1 - group["lr"] * step_size * group["weight_decay"]


def _placed(rule: _Rule, device: torch.device) -> _Rule:
    """As `rule.to(device)`, which takes a while even where nothing is to be moved."""
    first = next(chain(rule.parameters(), rule.buffers()), None)
    return rule if first is None or first.device == device else rule.to(device)
