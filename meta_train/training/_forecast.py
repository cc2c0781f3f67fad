"""How many meta-validations and inner steps a run takes."""

from __future__ import annotations

import math

from ..estimators import PES, FullES, GradientEstimator, NoiseReuseES, TruncatedBPTT
from ..inner import InnerConfig
from ._config import RunConfig


def validations(config: RunConfig, step: int) -> int:
    """Meta-validations that come after an outer step; before the first, that of the start."""
    every, last = config.validation.every, config.outer_steps
    if not config.validation.is_due(last, last) or step >= last:
        return 0
    return math.ceil(last / every) - step // every + (step == 0)


def inner_steps(estimator: GradientEstimator, config: InnerConfig, seen: int) -> float:
    """Inner steps of an estimate on average; as many as were seen, where that is not known."""
    low, high = config.min_horizon, config.max_horizon
    horizon = low if low == high else (high - low) / math.log(high / low)  # of log-uniform ones
    match estimator:
        case FullES():
            return horizon
        case TruncatedBPTT() | PES() | NoiseReuseES():
            return min(estimator.truncation, horizon)
    return seen
