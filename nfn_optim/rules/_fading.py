"""Steps become smaller as gradients do, so that runs without noise come to an end by themselves.

Where gradients are noise in the end, their size stays, and so do the steps: averaging takes care of
the noise. Where they vanish, steps of one size would go back and forth around the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .constants import LEAST_LOUD, LOUD_DECAY


def follow(loud: Tensor, loudest: Tensor, loudness: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """The mean square of the short momentum over the last steps, and the largest that it was.

    Args:
        loud: The first before this step.
        loudest: The second, like it.
        loudness: Root mean square of the short momentum, with bias correction, likewise.
        step: Steps so far, with this one.
    """
    rate = (1 / step).clamp(min=1 - LOUD_DECAY).to(loudness.dtype)
    loud = torch.lerp(loud, loudness * loudness, rate)
    return loud, torch.maximum(loudest, loud)


def log_fading(loud: Tensor, loudest: Tensor, exponent: float) -> Tensor:
    """Log of what is left of a step size.

    Args:
        loud: Mean square of the short momentum over the last steps.
        loudest: The largest that it was, like it.
        exponent: With which steps follow its root.
    """
    known = loudest.clamp(min=torch.finfo(loudest.dtype).tiny)
    return exponent / 2 * (loud / known).clamp(min=LEAST_LOUD).log()
