"""Truncated backpropagation through the unroll."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nfn_optim import UpdateRule

from ..inner import InnerRun
from ..support import require_counts
from ._base import MetaGradient, advance, trained
from ._meta_loss import MetaLoss


@dataclass(frozen=True)
class TruncatedBPTT:
    """Backpropagates the meta-loss through `truncation` inner steps.

    Exact for one truncation, with little variance; blind to what an update does beyond it. That
    favors small steps, which lose their noise at once and progress only later; so a truncation is
    judged by the mean of what the rule headed for, where most of the noise cancels and progress
    counts.

    Attributes:
        truncation: Inner steps differentiated at once.
        first_order: Whether the rule reads its inputs as constants.
        remat: Whether every step is computed again on the way back, to save memory.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    truncation: int = 40
    first_order: bool = True
    remat: bool = False

    def __post_init__(self) -> None:
        require_counts(self, "truncation")

    def estimate(self, rule: UpdateRule, run: InnerRun, meta_loss: MetaLoss) -> MetaGradient:
        """Advances `run` by one truncation."""
        theta = trained(rule)
        loss = advance(
            rule,
            run,
            self.truncation,
            meta_loss,
            first_order=self.first_order,
            remat=self.remat,
            averaged=True,
        ).loss
        grads = torch.autograd.grad(
            loss, list(theta.values()), allow_unused=True, materialize_grads=True
        )
        return MetaGradient(float(loss.detach()), dict(zip(theta, grads, strict=True)))
