"""Whether the loss goes down from a parameter towards the fast iterate that leads it.

Where it does, larger steps would have gained more, and where it goes up, smaller ones: the sign is
that of the loss's derivative by the log step size. It tells how far steps may open, and the pace
makes something of it. Likewise a gradient tells whether a matrix should be larger or smaller as a
whole.
"""

from __future__ import annotations

import torch
from torch import Tensor


def agreement(slopes: Tensor, lengths: Tensor) -> Tensor:
    """Of each parameter `(*batch, parameters)`, -1 to 1; 0 where nothing leads.

    It is the cosine of the angle between descent and lead. It is read as a constant: nothing is
    learned of it.

    Args:
        slopes: Inner products of gradients and leads `(*batch, parameters)`; or of other vectors.
        lengths: Products of their norms, likewise.
    """
    tiny = torch.finfo(lengths.dtype).tiny
    cosine = -slopes / lengths.clamp(min=tiny)
    return torch.where(lengths > tiny, cosine, 0.0).detach()


def further(mean: Tensor, agreement: Tensor, decay: float) -> Tensor:
    """Over the last steps, after one more gradient.

    Args:
        mean: Before it `(*batch, parameters)`; 0 before the first.
        agreement: Of this gradient, likewise.
        decay: With which gradients are forgotten, a step.
    """
    return torch.lerp(mean, agreement.to(mean.dtype), 1 - decay)
