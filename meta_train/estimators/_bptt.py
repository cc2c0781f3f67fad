"""Truncated backpropagation through the unroll."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.func import vmap

from nfn_optim import UpdateRule

from .._inner_run import InnerRun
from .._unroll import unroll
from ._base import MetaGradient


@dataclass(frozen=True)
class TruncatedBPTT:
    """Backpropagates logarithms of training and validation loss through `truncation` inner steps.

    The meta-loss of a network is `log(mean training loss + c) + log(final validation loss + c)`:
    the mean is over the steps, so that spikes count; the logarithm weighs every decade of progress
    alike and lets a diverging task be heard, where a clamp would silence it.

    Attributes:
        truncation: Inner steps differentiated at once.
        loss_floor: `c`; losses below it count as equal.
        first_order: Whether the rule reads its inputs as constants.
    """

    truncation: int = 20
    loss_floor: float = 1e-5
    first_order: bool = True

    def estimate(self, rule: UpdateRule, run: InnerRun) -> MetaGradient:
        """Advances `run` by one truncation.

        The loss before the first step depends on no update of this truncation; one more batch at
        the end shows what the last update did.
        """
        length = min(self.truncation, max(1, run.horizon - run.steps))
        out = unroll(
            rule,
            run.task.loss,
            run.params,
            run.batches(length),
            run.state,
            first_order=self.first_order,
        )
        last, held_out = (
            vmap(run.task.loss)(out.params, batch)
            for batch in (*run.batches(1), run.validation_batch())
        )
        training = torch.cat([out.losses[1:], last.unsqueeze(0)]).mean(0)
        meta_loss = sum((loss + self.loss_floor).log().mean() for loss in (training, held_out))
        assert isinstance(meta_loss, torch.Tensor)
        names, theta = zip(*rule.named_parameters(), strict=True)
        grads = torch.autograd.grad(meta_loss, theta, allow_unused=True, materialize_grads=True)
        run.advance(out.params, out.state, out.losses.detach())
        return MetaGradient(float(meta_loss.detach()), dict(zip(names, grads, strict=True)))
