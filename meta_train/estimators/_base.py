"""The one call behind which meta-gradient estimators are interchangeable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.func import vmap

from nfn_optim import UpdateRule

from ..inner import ALONE, InnerRun, Processes, unroll
from ..tasks import Params

_STRETCH = 50  # steps
WORST = 20.0  # meta-loss that stands for one that is not finite


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

    def estimate(self, rule: UpdateRule, run: InnerRun) -> MetaGradient:
        """Advances `run` by one truncation; the rule's parameters stay as they are.

        The gradient is that of the parameters with `requires_grad`.
        """
        ...


def trained(rule: UpdateRule) -> dict[str, Tensor]:
    """The meta-parameters that a gradient is asked for."""
    return {name: p for name, p in rule.named_parameters() if p.requires_grad}


@dataclass(frozen=True)
class Piece:
    """Logarithms of what a piece of a run reached: mean over networks, with particles `(p,)`.

    Attributes:
        training: `log(mean training loss + c)`, the mean over the steps of a stretch, so that
            spikes count, then the mean over the stretches of the piece, so that its end counts like
            its beginning. The logarithm weighs every decade of progress alike and lets a diverging
            task be heard, where a clamp would silence it.
        reached: `log(loss + c)` of the parameters that the piece is judged by, on a training batch
            and on held-out samples, weighed by the share of the latter.
    """

    training: Tensor
    reached: Tensor

    @property
    def loss(self) -> Tensor:
        """The meta-loss."""
        return self.training + self.reached


def advance(
    rule: UpdateRule,
    run: InnerRun,
    steps: int,
    loss_floor: float,
    *,
    held_out: float = 1.0,
    first_order: bool = True,
    remat: bool = False,
    averaged: bool = False,
    theta: Params | None = None,
    processes: Processes = ALONE,
) -> Piece:
    """Moves `run` on by `steps`, at most to its horizon.

    The loss before the first step depends on no update of this piece; one more batch at the end
    shows what the last update did.

    Args:
        rule: The rule.
        run: What is trained.
        steps: Inner steps.
        loss_floor: `c`; losses below it count as equal.
        held_out: Share of the held-out loss in what the piece reached.
        first_order: As for `unroll`.
        remat: As for `unroll`.
        averaged: Whether the piece is judged by the mean of what the rule headed for after each
            step, not by the last parameters.
        theta: As for `unroll`.
        processes: Share the particles among them; `theta` are this one's, the results everyone's.
    """
    steps = min(steps, max(1, run.horizon - run.steps))
    out = unroll(
        rule,
        run.task.loss,
        run.params,
        run.batches(steps),
        run.state,
        first_order=first_order,
        remat=remat,
        averaged=averaged,
        theta=theta,
    )
    many = vmap(run.task.loss) if theta is None else vmap(vmap(run.task.loss), (0, None))
    (batch,) = run.batches(1)
    judged = out.mean_params if averaged else out.params
    last = many(out.params, batch)
    seen = many(judged, batch) if averaged else last
    ends = [last, seen, many(judged, run.validation_batch())]
    losses = processes.whole(torch.cat([out.losses, torch.stack(ends)]), -2)  # (k + 3, [p,] n)
    run.advance(out.params, out.state, losses[:-3].detach())
    stretches = torch.stack([part.mean(0) for part in losses[1:-2].split(_STRETCH)])
    training = (stretches + loss_floor).log().mean(0)
    trained_on, unseen = (losses[-2:] + loss_floor).log()
    reached = torch.lerp(trained_on, unseen, held_out)
    return Piece(training.mean(-1), reached.mean(-1))
