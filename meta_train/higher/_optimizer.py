"""`NFNOptimizer` for `higher`: the same step, out of place, differentiable in the rule."""

from __future__ import annotations

from typing import Any

import higher
from torch import Tensor

from nfn_optim import NFNOptimizer
from nfn_optim.optimizer import kept_share, rate_of
from nfn_optim.rules import RuleState, with_length

from ..tasks import Params


class DifferentiableNFN(higher.optim.DifferentiableOptimizer):
    """What `higher` makes of an `NFNOptimizer`.

    Args:
        other: The optimizer whose state is copied; its rule is shared, so that gradients reach it.
        reference_params: The model's parameters.
        **kwargs: Whatever else `higher` passes.
    """

    def __init__(self, other: NFNOptimizer, reference_params: Any, **kwargs: Any) -> None:
        super().__init__(other, reference_params, **kwargs)
        self.rule, self.spec = other.rule, other.spec

    def _update(self, grouped_grads: list[list[Tensor | None]], **kwargs: Any) -> None:
        """One step on gradients with entries; `higher` reads the result from `param_groups`."""
        places: dict[str, tuple[int, int]] = {}  # group, and index in it
        grads: dict[str, Tensor] = {}
        for g, (group, in_group) in enumerate(zip(self.param_groups, grouped_grads, strict=True)):
            for i, (name, grad) in enumerate(zip(group["param_names"], in_group, strict=True)):
                if grad is not None and grad.numel():
                    places[name] = g, i
                    grads[name] = -grad if group["maximize"] else grad
        if grads:
            self._drive(grads, places)

    def _drive(self, grads: Params, places: dict[str, tuple[int, int]]) -> None:
        """Moves the parameters that have these gradients."""
        rule, step_size = self.rule, self.rule.schedule.bias[0].exp()  # `step_size`, differentiable
        params, slots = {}, {}
        for name in grads:
            g, i = places[name]
            group = self.param_groups[g]
            params[name] = group["params"][i]
            new = rule.new_slots(name, params[name].detach(), self.spec)
            slots[name] = dict(self.state[g][i]) or with_length(new, group["num_steps"])
        delta, state = rule(params, grads, RuleState(slots, self.spec.subset(grads)))
        for name, param in params.items():
            g, i = places[name]
            group = self.param_groups[g]
            kept = param * kept_share(group, step_size)
            group["params"][i] = kept + rate_of(group) * delta[name]
            self.state[g][i] = state.slots[name]
