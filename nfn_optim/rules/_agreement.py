"""Whether the loss goes down from the parameters towards the fast iterate that leads them.

Where it does, larger steps would have gained more, and where it goes up, smaller ones: the sign is
that of the loss's derivative by the log step size. Early it tells how far steps may open, later
what the pace makes of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .constants import AGREED_DECAY, UNOPENED


def agreement(slopes: Tensor, lengths: Tensor) -> Tensor:
    """Of whole networks `(*batch, 1)`, -1 to 1.

    It is read as a constant: nothing is learned of it, like the other.

    Args:
        slopes: Inner products of gradients and leads `(*batch, parameters)`.
        lengths: Products of their norms, likewise.

    Returns:
        Where nothing leads, such as does not open steps.
    """
    return _cosine(slopes.sum(-1, True), lengths.sum(-1, True), UNOPENED)


def agreed_further(agreed: Tensor, slopes: Tensor, lengths: Tensor, is_open: Tensor) -> Tensor:
    """Of each parameter over the last hundred steps, after one more gradient.

    Args:
        agreed: Before it `(*batch, parameters)`; 0 before the first.
        slopes: As for `agreement`.
        lengths: Likewise.
        is_open: Whether steps have their full size: while they open, nothing is taken in.
    """
    now = _cosine(slopes, lengths, 0.0).to(agreed.dtype)
    return torch.where(is_open, torch.lerp(agreed, now, 1 - AGREED_DECAY), agreed)


def _cosine(slopes: Tensor, lengths: Tensor, default: float) -> Tensor:
    """Of the angle between descent and lead; the default where nothing leads."""
    tiny = torch.finfo(lengths.dtype).tiny
    cosine = -slopes / lengths.clamp(min=tiny)
    return torch.where(lengths > tiny, cosine, default).detach()
