"""Whether the loss goes down from a parameter towards the fast iterate that leads it.

Where it does, larger steps would have gained more, and where it goes up, smaller ones: the sign is
that of the loss's derivative by the log step size. It tells how far steps may open, and the pace
makes something of it. Likewise a gradient tells whether a matrix should be larger or smaller as a
whole.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cosine(inner: Tensor, lengths: Tensor) -> Tensor:
    """Of the angle between two vectors of each parameter `(*batch, parameters)`; 0 if one is zero.

    It is read as a constant: nothing is learned of it.

    Args:
        inner: Inner products, as of gradients and leads `(*batch, parameters)`.
        lengths: Products of the vectors' norms, likewise.
    """
    tiny = torch.finfo(lengths.dtype).tiny
    found = inner / lengths.clamp(min=tiny)
    return torch.where(lengths > tiny, found, 0.0).detach()


def over_last_steps(mean: Tensor, now: Tensor, decay: float) -> Tensor:
    """The mean of a cosine over the last steps, after one more gradient.

    Args:
        mean: Before it `(*batch, parameters)`; 0 before the first.
        now: Of this gradient, likewise.
        decay: With which gradients are forgotten, a step.
    """
    return torch.lerp(mean, now.to(mean.dtype), 1 - decay)
