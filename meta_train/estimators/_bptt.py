"""Truncated backpropagation through the unroll."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from nfn_optim import UpdateRule

from ..inner import InnerRun
from ._base import MetaGradient, advance, trained


@dataclass(frozen=True)
class TruncatedBPTT:
    """Backpropagates the meta-loss through `truncation` inner steps.

    Exact for one truncation, with little variance; blind to what an update does beyond it. That
    favors small steps, which lose their noise at once and progress only later; so a truncation is
    judged by the mean of what the rule headed for, where most of the noise cancels and progress
    counts.

    Attributes:
        truncation: Inner steps differentiated at once.
        loss_floor: Losses below it count as equal.
        first_order: Whether the rule reads its inputs as constants.
        remat: Whether every step is computed again on the way back, to save memory.
        held_out: Share of the held-out loss in what a truncation is judged by.
    """

    truncation: int = 20
    loss_floor: float = 1e-5
    first_order: bool = True
    remat: bool = False
    held_out: float = field(default=1.0, kw_only=True)

    def estimate(self, rule: UpdateRule, run: InnerRun) -> MetaGradient:
        """Advances `run` by one truncation."""
        theta = trained(rule)
        piece = advance(
            rule,
            run,
            self.truncation,
            self.loss_floor,
            held_out=self.held_out,
            first_order=self.first_order,
            remat=self.remat,
            averaged=True,
        )
        loss = piece.loss
        grads = torch.autograd.grad(
            loss, list(theta.values()), allow_unused=True, materialize_grads=True
        )
        return MetaGradient(float(loss.detach()), dict(zip(theta, grads, strict=True)))
