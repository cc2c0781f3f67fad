"""How large steps are and how fast the average follows, for whole parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ._config import NFNRuleConfig
from ._fading import log_fading
from ._fixed import fixed
from ._inputs import Descriptors
from ._limits import trust
from ._opening import log_opening
from ._relative import log_share
from ._scaling import shrinking
from .constants import INITIAL_LOG_RECENCY, SCHEDULE_CHANNELS, TREND_CHANNELS


@dataclass(frozen=True)
class Paces:
    """What suits whole parameters, `(*batch, parameters)` each.

    Attributes:
        sizes: Log step sizes.
        recencies: Log recencies, less the log of the time.
        shrinking: Shares of matrices that a step takes from them, see the module `_scaling`.
        trusts: The share of what NF-Layers write that counts.
    """

    sizes: Tensor
    recencies: Tensor
    shrinking: Tensor
    trusts: Tensor

    def of(self, parameter: int, axes: int) -> Paces:
        """Those of one parameter, `(*batch, 1, ...)` with so many axes."""
        every = (self.sizes, self.recencies, self.shrinking, self.trusts)
        chosen = (x[..., parameter] for x in every)
        return Paces(*(x.reshape(x.shape + (1,) * axes) for x in chosen))


class Pace(nn.Linear):
    """Reads time, fans and gradients' trend of every parameter; writes log step size and recency.

    Untrained, the step size is `initial_lr`, times what suits the parameter, and the average weighs
    all positions about alike. It tends to this beyond the limits, unless the rule is careful: then
    its steps become smaller there.

    Args:
        config: Shape of the rule.
    """

    def __init__(self, config: NFNRuleConfig) -> None:
        super().__init__(SCHEDULE_CHANNELS + TREND_CHANNELS, 2)
        self.config = config
        nn.init.zeros_(self.weight)
        with torch.no_grad():
            self.bias.copy_(self._untrained())

    def pace(self, known: Descriptors) -> Paces:
        """The paces of parameters, from what is known of them."""
        config, dtype = self.config, self.bias.dtype
        inputs = torch.cat([known.schedule.to(dtype), known.trend.to(dtype)]).movedim(0, -1)
        beyond = config.limits.distance(known.step, known.log_fan_in, known.log_fan_out)
        none = torch.zeros_like(beyond)
        lost, faded = (beyond, none) if config.careful else (none, beyond)
        trusts = trust(faded).to(dtype)
        written = torch.lerp(self._untrained(), self(inputs), trusts.unsqueeze(-1))
        suits = log_share(known.start, known.default, config.relative) + known.dealt
        left = log_fading(known.loud, known.loudest, config.fading)
        open_to = log_opening(known.opened, config.first_share)
        age = known.step.clamp(max=config.limits.memory).log()
        size, recency = written.unbind(-1)
        size = size + (left + open_to - lost).to(dtype)
        shrunk = shrinking(known.asked, size, known.default, known.step, config.scaling)
        return Paces(size + suits.to(dtype), recency - age, shrunk, trusts)

    def _untrained(self) -> Tensor:
        return fixed((math.log(self.config.initial_lr), INITIAL_LOG_RECENCY), self.bias)

    @property
    def step_size(self) -> float:
        """Size of an entry's step where nothing asks for a change, like a learning rate."""
        return math.exp(self.bias[0])
