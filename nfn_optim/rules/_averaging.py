"""Averages of what a rule passes through, in place of a schedule of its learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ._base import Params, RuleState, Slots, UpdateRule
from ._hand import expand
from .constants import BETA


@dataclass(frozen=True)
class ScheduleFree:
    """A fast iterate takes the steps, and the parameters follow their average.

    With the fast iterate `z`, the average `x` of all its positions and the parameters
    `y = beta x + (1 - beta) z`, where gradients are taken (Defazio et al. 2024, arXiv 2405.15682).
    What is kept is by how much `z` leads `y`.

    Attributes:
        beta: Share of the average in the parameters.
    """

    beta: float = BETA

    def move(self, lead: Tensor, step: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """What the parameters move by, and by how much the fast iterate leads afterwards.

        Args:
            lead: Of the fast iterate before the step `(*batch, *axes)`.
            step: What the fast iterate goes down by, like it.
            rate: Weight of the fast iterate's new position in the average, likewise.
        """
        ahead = torch.sub(lead, step, alpha=self.beta)
        caught = rate * ahead
        return torch.sub(caught, step, alpha=1 - self.beta), ahead - caught


def uniform(step: Tensor) -> Tensor:
    """Weight of the newest of `step` positions where all count alike."""
    return 1 / step


class ScheduleFreeRule(UpdateRule):
    """Averages any rule's steps.

    Around an `AdamRule` without momentum it is `schedulefree.AdamWScheduleFree`.

    Args:
        rule: Takes the steps of the fast iterate; it sees gradients at the parameters.
        beta: Share of the average in the parameters.
        rate: Weight of the newest position in the average, of the steps `(*batch)` so far.
    """

    def __init__(
        self,
        rule: UpdateRule,
        *,
        beta: float = BETA,
        rate: Callable[[Tensor], Tensor] = uniform,
    ) -> None:
        super().__init__()
        self.rule, self.averaging, self.rate = rule, ScheduleFree(beta), rate

    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        """The rule's own, a count of steps `(*batch)` and the lead."""
        count = torch.zeros(param.shape[:batch_dims], dtype=torch.float32, device=param.device)
        return {
            **self.rule.init_slots(param, batch_dims),
            "averaged": count,
            "lead": torch.zeros_like(param),
        }

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        """One step, see `ScheduleFree`."""
        fast, inner = self.rule(params, grads, state)
        delta: Params = {}
        slots: Slots = {}
        for name, param in params.items():
            count = state.slots[name]["averaged"] + 1
            rate = expand(self.rate(count), param)
            delta[name], lead = self.averaging.move(state.slots[name]["lead"], -fast[name], rate)
            slots[name] = {**inner.slots[name], "averaged": count, "lead": lead}
        return delta, replace(state, slots=slots)

    def heading(self, params: Params, state: RuleState) -> Params:
        """The fast iterate."""
        return {n: p + state.slots[n]["lead"] for n, p in params.items()}
