"""`NFNOptimizer` for `higher`: the same step, out of place, differentiable in the rule."""

from __future__ import annotations

from typing import Any

import higher
from torch import Tensor

from nfn_optim import NetworkSpec, NFNOptimizer, UpdateRule
from nfn_optim.rules import RuleState

from ..tasks import Params

NO_SPEC = NetworkSpec({}, {})


class DifferentiableNFN(higher.optim.DifferentiableOptimizer):
    """What `higher` makes of an `NFNOptimizer`.

    Args:
        other: The optimizer whose state is copied; its rule is shared, so that gradients reach it.
        reference_params: The model's parameters.
        **kwargs: Whatever else `higher` passes.
    """

    def __init__(self, other: NFNOptimizer, reference_params: Any, **kwargs: Any) -> None:
        super().__init__(other, reference_params, **kwargs)
        self.rule, self.fallback = other.rule, other.fallback
        self.spec = other.coverage().spec or NO_SPEC

    def _update(self, grouped_grads: list[list[Tensor | None]], **kwargs: Any) -> None:
        """One step on what has a gradient; `higher` reads the result from `param_groups`."""
        place: dict[str, tuple[int, int]] = {}
        params: dict[str, Tensor] = {}
        grads: dict[str, Tensor] = {}
        for g, (group, group_grads) in enumerate(
            zip(self.param_groups, grouped_grads, strict=True)
        ):
            for i, (name, grad) in enumerate(zip(group["param_names"], group_grads, strict=True)):
                if grad is not None:
                    place[name], params[name] = (g, i), group["params"][i]
                    grads[name] = -grad if group["maximize"] else grad
        covered = [name for name in params if name in self.spec.axes]
        others = [name for name in params if name not in self.spec.axes]
        if covered:
            spec = self.spec.subset(covered)
            self._drive(
                self.rule, spec, self.rule.schedule.bias[0].exp(), covered, params, grads, place
            )
        if others:
            size = self.fallback.step_size
            self._drive(self.fallback, NO_SPEC, size, others, params, grads, place)

    def _drive(
        self,
        rule: UpdateRule,
        spec: NetworkSpec,
        step_size: float | Tensor,
        names: list[str],
        params: Params,
        grads: Params,
        place: dict[str, tuple[int, int]],
    ) -> None:
        slots = {}
        for name in names:
            g, i = place[name]
            slots[name] = dict(self.state[g][i]) or rule.new_slots(
                params[name].detach(), num_steps=self.param_groups[g]["num_steps"]
            )
        driven = {name: params[name] for name in names}
        delta, state = rule(driven, {name: grads[name] for name in names}, RuleState(slots, spec))
        for name in names:
            g, i = place[name]
            group = self.param_groups[g]
            kept = 1 - group["lr"] * step_size * group["weight_decay"]
            group["params"][i] = params[name] * kept + group["lr"] * delta[name]
            self.state[g][i] = state.slots[name]
