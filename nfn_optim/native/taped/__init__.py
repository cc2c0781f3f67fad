"""A step of `NFNRule` on many networks in native code, and the way back through it.

It returns what `NFNRule.forward` does, to rounding, and its gradients are those of that, where
nothing that the rule reads depends on what the gradients are for: they are those of the
meta-parameters and of the leads of the fast iterates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...rules import NFNRule, Params, RuleState, Slots, UpdateRule
from .. import fit, is_transformed
from ..step import SLOTS, settings_of, weights_in, weights_of
from ._function import LIBRARY, MetaParameters, take
from ._plan import LEAD, TENSORS, plan_of

__all__ = ["LIBRARY", "Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A rule as native code has it, for steps between which its meta-parameters stay.

    Attributes:
        rule: The rule.
        meta: Its meta-parameters.
    """

    rule: NFNRule
    meta: MetaParameters

    def step(
        self, params: Params, grads: Params, state: RuleState
    ) -> tuple[Params, RuleState] | None:
        """One step, `rule(params, grads, state)`, if native code knows the tensors.

        Args:
            params: Tensors `(*batch, *stored)` by name.
            grads: Their gradients.
            state: The rule's state.

        Returns:
            None where the step has to be torch's: in a transform or while something is compiling,
            where a tensor is not float32 in the CPU's memory, and where a gradient has to find its
            way through anything but meta-parameters and leads.
        """
        if is_transformed() or not params:
            return None
        batch = tuple(next(iter(params.values())).shape[: state.batch_dims])
        plan = plan_of(state.spec, self.rule.direction, batch, self.rule.config.hidden)
        layout = plan.layout
        held = layout.held(params, grads, state.slots)
        if not fit(held, plan.tensors) or _has_other_gradients(held):
            return None
        laid = [layout.lay(i, tensor) for i, tensor in enumerate(held)]
        taken = take(plan, self.meta, laid)
        delta: Params = {}
        slots: Slots = {}
        for i, name in enumerate(layout.names):
            found = {**taken.slots[i], "lead": taken.leads[i]}
            at = {k: TENSORS * i + 2 + SLOTS.index(k) for k in found if k in state.slots[name]}
            stored = {k: layout.put_back(place, found[k]) for k, place in at.items()}
            slots[name] = {**state.slots[name], **stored}
            delta[name] = layout.put_back(TENSORS * i, taken.deltas[i])
        new = RuleState({n: slots[n] for n in params}, state.spec, state.batch_dims)
        return {n: delta[n] for n in params}, new


def prepare(rule: UpdateRule) -> Prepared | None:
    """A rule made ready for native steps; None if it has none, or native code cannot be had.

    There are native steps of `NFNRule` itself, in float32 in the CPU's memory.
    """
    if type(rule) is not NFNRule:
        return None
    weights = weights_in(rule)
    if not fit(weights, weights_of(rule.config.hidden)) or not LIBRARY.can_load():
        return None
    return Prepared(rule, MetaParameters.of(weights, settings_of(rule)))


def _has_other_gradients(held: list[Tensor]) -> bool:
    """Whether what the rule reads as a constant depends on something."""
    return torch.is_grad_enabled() and any(
        tensor.requires_grad for i, tensor in enumerate(held) if i % TENSORS != LEAD
    )
