"""A parameter's steps become larger while its gradients agree with where they lead, or smaller.

The fast iterate leads the parameter. Where the loss goes down towards it, larger steps would have
gained more, and where it goes up, smaller ones: the sign is that of the loss's derivative by the
log step size. How strongly steps follow is for the pace to say; untrained, they do not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .constants import AGREED_DECAY, MOST_HASTENED


def agreed_further(agreed: Tensor, slopes: Tensor, lengths: Tensor) -> Tensor:
    """How much each parameter's last gradients agree, -1 to 1, after one more.

    It is read as a constant: nothing is learned of it.

    Args:
        agreed: Before it `(*batch, parameters)`.
        slopes: Inner products of gradients and leads, likewise.
        lengths: Products of their norms, likewise.
    """
    known = lengths > torch.finfo(lengths.dtype).tiny
    now = torch.where(known, -slopes / torch.where(known, lengths, 1.0), 0.0).detach()
    return torch.lerp(agreed, now.to(agreed.dtype), 1 - AGREED_DECAY)


def hastened_further(hastened: Tensor, agreed: Tensor, haste: Tensor, is_open: Tensor) -> Tensor:
    """By what log steps are larger for it; they follow once they have their full size.

    Args:
        hastened: Before this step `(*batch, parameters)`.
        agreed: See `agreed_further`.
        haste: How strongly steps follow, likewise; read as a constant, too.
        is_open: Whether steps have their full size.
    """
    further = (hastened + haste.detach() * agreed).clamp(-MOST_HASTENED, MOST_HASTENED)
    return torch.where(is_open, further, hastened)
