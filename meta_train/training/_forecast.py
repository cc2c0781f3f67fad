"""How long a run takes: the costs and numbers of its outer steps and its meta-validations."""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean

from ..estimators import PES, FullES, GradientEstimator, NoiseReuseES, TruncatedBPTT
from ..inner import InnerConfig
from ._config import RunConfig

_TRIAL = 10  # outer steps that count as much as the trial
_WINDOW = 200  # outer steps that the pace is the mean of


class Forecast:
    """The time that is left, from a trial before the run and from what is measured in it.

    Args:
        config: The run's settings.
        step: Seconds of an outer step, by a trial.
        validation: Seconds of a meta-validation, likewise.
    """

    def __init__(self, config: RunConfig, step: float, validation: float) -> None:
        self.config = config
        self._steps = deque([step] * _TRIAL, maxlen=_WINDOW)
        self._validation = validation

    def stepped(self, seconds: float) -> None:
        """Takes account of an outer step."""
        self._steps.append(seconds)

    def validated(self, seconds: float) -> None:
        """Takes account of a meta-validation."""
        self._validation = seconds

    def left(self, step: int) -> float:
        """Seconds from the end of an outer step to the end of the run."""
        steps = self.config.outer_steps - step
        return steps * fmean(self._steps) + self.validations(step) * self._validation

    def validations(self, step: int) -> int:
        """Meta-validations that come after an outer step; before the first, that of the start."""
        every, last = self.config.validation.every, self.config.outer_steps
        if not self.config.validation.is_due(last, last) or step >= last:
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
