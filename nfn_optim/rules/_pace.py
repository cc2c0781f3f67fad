"""How large steps are and how fast the average follows, for whole parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ._fading import log_fading
from ._inputs import Descriptors
from ._limits import Limits
from ._relative import log_share
from .constants import INITIAL_LOG_RECENCY, SCHEDULE_CHANNELS


class Pace(nn.Linear):
    """Reads the time and the fans of every parameter; writes log step sizes and log recencies.

    Untrained, the step size is `initial_lr`, times what suits the parameter, and the average weighs
    all positions about alike.

    Args:
        initial_lr: Step size of an untrained rule.
        relative: Exponent with which steps follow the size of the weights at the start.
        fading: Exponent with which steps follow gradients that become smaller.
        limits: What meta-training has seen; beyond it steps shrink.
    """

    def __init__(self, initial_lr: float, relative: float, fading: float, limits: Limits) -> None:
        super().__init__(SCHEDULE_CHANNELS, 2)
        self.relative, self.fading, self.limits = relative, fading, limits
        nn.init.zeros_(self.weight)
        with torch.no_grad():
            self.bias.copy_(torch.tensor((math.log(initial_lr), INITIAL_LOG_RECENCY)))

    def pace(self, known: Descriptors) -> tuple[Tensor, Tensor]:
        """Log step sizes, and recencies less the log of the time, `(*batch, parameters)` each."""
        inputs = known.schedule.to(self.bias.dtype).movedim(0, -1)
        size, recency = self(inputs).unbind(-1)
        late = (known.step / self.limits.horizon).clamp(min=1).log()
        excess = (known.log_fan_in - self.limits.log_fan_in).clamp(min=0)
        age = known.step.clamp(max=self.limits.memory).log()
        suits = log_share(known.start, known.default, self.relative) + known.dealt
        left = log_fading(known.loud, known.loudest, self.fading)
        return size + (suits + left - excess - late).to(size.dtype), recency - age

    @property
    def step_size(self) -> float:
        """Size of an entry's step where nothing asks for a change, like a learning rate."""
        return math.exp(self.bias[0])
