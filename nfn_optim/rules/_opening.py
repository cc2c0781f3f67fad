"""Steps start small, and open while the loss goes down towards the fast iterate.

A network that is trained already has little left to learn, and steps of full size would shake it.
Its gradients tell: on the whole they point back, against the way that steps have led. Those of a
new network do not, so its steps have their full size after a few, and keep it. Every parameter has
its own opening: one whose steps are too large as they are does not hold the others back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .constants import MOST_OPENING, OPENING, UNOPENED


def opened_further(opened: Tensor, agreement: Tensor, share: float) -> Tensor:
    """By what log steps are larger than at first, after one more gradient.

    Args:
        opened: Before it `(*batch, parameters)`.
        agreement: Of this gradient, likewise; 0, where nothing leads, opens nothing.
        share: What the first steps are of their full size.
    """
    gained = (OPENING * (agreement - UNOPENED)).clamp(max=MOST_OPENING).to(opened.dtype)
    widest = -math.log(share)
    opens = (opened < widest) & (agreement != 0)
    return torch.where(opens, (opened + gained).clamp(0, widest), opened)


def log_opening(opened: Tensor, share: float) -> Tensor:
    """Log of what steps are of their full size; arguments as for `opened_further`."""
    return opened + math.log(share)
