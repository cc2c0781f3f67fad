"""How long inner runs are."""

from __future__ import annotations

import math

import torch


def log_uniform_horizon(low: int, high: int, generator: torch.Generator) -> int:
    """A run length in `[low, high]` whose logarithm is uniform: every decade is seen alike."""
    position = float(torch.rand((), generator=generator))
    return round(math.exp(math.log(low) + position * (math.log(high) - math.log(low))))
