"""The one call behind which meta-gradient estimators are interchangeable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nfn_optim import UpdateRule

from .._inner_run import InnerRun


@dataclass(frozen=True)
class MetaGradient:
    """An estimate of the meta-loss and its gradient.

    Attributes:
        loss: Meta-loss of this truncation.
        grads: Gradient for each of the rule's parameters, by name.
    """

    loss: float
    grads: dict[str, Tensor]


class GradientEstimator(Protocol):
    """Estimates the meta-gradient on a run and moves the run on."""

    def estimate(self, rule: UpdateRule, run: InnerRun) -> MetaGradient:
        """Advances `run` by one truncation; the rule's parameters stay as they are."""
        ...
