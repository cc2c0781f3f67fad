"""The meta-loss: what an estimator lowers, and what meta-validation measures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..support import require_positive, require_shares

_STRETCH = 50  # steps
WORST = 20.0  # meta-loss that stands for one that is not finite


@dataclass(frozen=True)
class Piece:
    """Logarithms of the losses on a piece of a run: mean over networks, with particles `(p,)`.

    Attributes:
        training: `log(mean training loss + floor)`, the mean over the steps of a stretch, so that
            spikes count, then the mean over the stretches of the piece, so that its end counts like
            its beginning. The logarithm weighs every decade of progress alike and lets a diverging
            task be heard, where a clamp would silence it.
        reached: `log(loss + floor)` of the parameters that the piece is judged by, on a training
            batch and on held-out samples, weighed by the share of the latter.
    """

    training: Tensor
    reached: Tensor

    @property
    def loss(self) -> Tensor:
        """The meta-loss."""
        return self.training + self.reached


@dataclass(frozen=True)
class MetaLoss:
    """The meta-loss of a piece of an inner run: losses on the way plus the loss reached.

    Attributes:
        floor: Added to every loss before the logarithm, so that losses below it count as equal; an
            inner run whose loss falls below it is over.
        held_out: Share of the held-out loss in the loss that a piece reached; the rest is training
            loss.

    Raises:
        ValueError: If a setting is out of range; it is named.
    """

    floor: float = 1e-5
    held_out: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "floor")
        require_shares(self, "held_out")

    def of(self, training: Tensor, reached: Tensor) -> Piece:
        """The meta-loss of a piece.

        Args:
            training: Training loss after each step, `(k, n)`, with particles `(k, p, n)`.
            reached: Loss of the parameters that the piece is judged by, on a training batch and on
                held-out samples, `(2, n)` or `(2, p, n)`.
        """
        stretches = torch.stack([part.mean(0) for part in training.split(_STRETCH)])
        on_the_way = (stretches + self.floor).log().mean(0)
        seen, held_out = (reached + self.floor).log()
        judged = torch.lerp(seen, held_out, self.held_out)
        return Piece(on_the_way.mean(-1), judged.mean(-1))
