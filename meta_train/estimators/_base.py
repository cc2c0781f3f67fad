"""The one call behind which meta-gradient estimators are interchangeable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nfn_optim import UpdateRule

from ..inner import InnerRun, Unrolled, unroll
from ..tasks import Batch, Params
from ._meta_loss import MetaLoss, Piece


@dataclass(frozen=True)
class MetaGradient:
    """An estimate of the meta-loss and its gradient.

    Attributes:
        loss: Meta-loss of this truncation.
        grads: Gradient for each of the rule's trained parameters, by name.
    """

    loss: float
    grads: dict[str, Tensor]


class GradientEstimator(Protocol):
    """Estimates the meta-gradient on a run and moves the run on."""

    def estimate(self, rule: UpdateRule, run: InnerRun, meta_loss: MetaLoss) -> MetaGradient:
        """Advances `run` by one truncation; the rule's parameters stay as they are.

        The gradient is that of `meta_loss` in the parameters with `requires_grad`.
        """
        ...


def trained(rule: UpdateRule) -> dict[str, Tensor]:
    """The meta-parameters that a gradient is asked for."""
    return {name: p for name, p in rule.named_parameters() if p.requires_grad}


def advance(
    rule: UpdateRule,
    run: InnerRun,
    steps: int,
    meta_loss: MetaLoss,
    *,
    first_order: bool = True,
    remat: bool = False,
    averaged: bool = False,
    theta: Params | None = None,
) -> Piece:
    """Moves `run` on by `steps`, at most to its horizon.

    The loss before the first step depends on no update of this piece and is left out; one more
    batch at the end shows what the last update did. Processes that share the particles of the run
    each train their own and exchange the losses.

    Args:
        rule: The rule.
        run: The run.
        steps: Inner steps.
        meta_loss: What the piece is judged by.
        first_order: As for `unroll`.
        remat: As for `unroll`.
        averaged: Whether the piece is judged by the mean of what the rule headed for after each
            step, not by the last parameters.
        theta: As for `unroll`: this process's particles. The result is that of all of them.

    Raises:
        OtherFailed: If another process that shares the particles raised something.
    """
    steps = min(steps, max(1, run.horizon - run.steps))
    with run.processes.together():
        out = unroll(
            rule,
            run.losses,
            run.params,
            run.batches(steps),
            run.state,
            first_order=first_order,
            remat=remat,
            averaged=averaged,
            theta=theta,
            generator=run.generators[0],
        )
        ends = _ends(run, out, averaged, has_particles=theta is not None)
    losses = run.processes.whole(torch.cat([out.losses, ends]), -2)  # (k + 3, [p,] n)
    run.advance(out.params, out.state, losses[:-3].detach(), meta_loss.floor)
    return meta_loss.of(losses[1:-2], losses[-2:])


def _ends(run: InnerRun, out: Unrolled, averaged: bool, *, has_particles: bool) -> Tensor:
    """Losses after the last update, `(3, [p,] n)`.

    On one more batch, of what is judged on that batch, and of the same on a validation batch.
    """
    seed = run.losses.seed(run.generators[0])

    def losses_of(params: Params, batch: Batch) -> Tensor:
        return run.losses(params, batch, seed, particles=has_particles)[0]

    (batch,) = run.batches(1)
    judged = {**out.params, **out.mean_params}
    last = losses_of(out.params, batch)
    seen = losses_of(judged, batch) if averaged else last
    return torch.stack([last, seen, losses_of(judged, run.validation_batch())])
