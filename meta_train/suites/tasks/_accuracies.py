"""How accuracies are learned: from a score of a network, by its value and by the order of pairs.

Shape legend: `n` networks, `k` auxiliary targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ORDER = 2.0  # weight of the order of pairs in the loss


class Accuracies(nn.Module):
    """Accuracies from scores, the first number that a network writes.

    The loss of pairs drives scores far apart, while the cross-entropy needs accuracies as they are.
    A learned slope and offset between the two allow both, and keep the order.

    Args:
        calibrated: Whether slope and offset are learned; else an accuracy is the score's sigmoid.

    Shape:
        `(n, 1 + k)` or `(n, 1)` to `(n,)`; in training to `(n, 2 + k)` or `(n, 2)`: accuracies
        before what the network wrote.
    """

    def __init__(self, calibrated: bool) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(()), requires_grad=calibrated)
        self.offset = nn.Parameter(torch.zeros(()), requires_grad=calibrated)

    def forward(self, outputs: Tensor) -> Tensor:
        """Reads what a network wrote."""
        outputs = outputs.float()  # losses of half precision have no gradient
        accuracies = (self.slope * outputs[:, :1] + self.offset).sigmoid()
        return torch.cat([accuracies, outputs], dim=1) if self.training else accuracies[:, 0]


@dataclass(frozen=True)
class AccuracyLoss:
    """The loss of a size, of what `Accuracies` gives and of targets `(n, 1 + k)`.

    A network that writes scores alone learns no auxiliary targets.

    Attributes:
        ordered: Whether the order of pairs is learned too.
        auxiliary: Weight of the auxiliary targets' mean squared error.
    """

    ordered: bool
    auxiliary: float

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss, a number."""
        loss = F.binary_cross_entropy(predictions[:, 0], targets[:, 0])
        if self.ordered:
            loss = loss + _ORDER * wrong_order(predictions[:, 1], targets[:, 0])
        if predictions.shape[1] > 2:
            loss = loss + self.auxiliary * F.mse_loss(predictions[:, 2:], targets[:, 1:])
        return loss


def wrong_order(scores: Tensor, targets: Tensor) -> Tensor:
    """A logistic loss of the order of all pairs of scores `(n,)`.

    Kendall's tau counts pairs in the right order; the paper's loss, a cross-entropy alone, does
    not. Pairs with equal targets do not count.
    """
    signs = (targets[:, None] - targets).sign()
    wrong = F.softplus(-signs * (scores[:, None] - scores)) * signs.abs()
    return wrong.sum() / signs.abs().sum().clamp(min=1)
