"""What a rule's meta-training has seen: it travels with the weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from torch import Tensor

from .constants import REACH, TYPICAL_FAN


@dataclass(frozen=True)
class Limits:
    """What meta-training has seen; beyond it a rule trusts less and less in what it has learned.

    By default there are no limits, as befits a rule that has learned nothing.

    Attributes:
        horizon: Steps of the longest run.
        memory: Steps that the average remembers; after as many it forgets as fast as it learns.
        fan_in: Largest fan-in.
        weight_size: Largest root mean square of a parameter; larger ones look like this to the
            rule, so that its steps never make it ask for larger steps.
        fan_out: Largest fan-out.

    Raises:
        ValueError: If one is not positive.
    """

    horizon: float = math.inf
    memory: float = math.inf
    fan_in: float = math.inf
    weight_size: float = 2.0
    fan_out: float = math.inf

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"limits: {name} must be positive; got {value!r}.")

    @property
    def log_fan_in(self) -> float:
        """Log of `fan_in` over a typical fan-in, as the rule's descriptors have it."""
        return math.log(self.fan_in / TYPICAL_FAN)

    @property
    def log_fan_out(self) -> float:
        """Log of `fan_out`, likewise."""
        return math.log(self.fan_out / TYPICAL_FAN)

    def distance(self, step: Tensor, log_fan_in: Tensor, log_fan_out: Tensor) -> Tensor:
        """How far parameters are beyond horizon and fans, the sum of logs; 0 within, like `step`.

        Args:
            step: Steps of the run so far.
            log_fan_in: Logs of fan-ins over a typical one, like it.
            log_fan_out: Likewise.
        """
        late = (step / self.horizon).clamp(min=1).log()
        high = (log_fan_in - self.log_fan_in).clamp(min=0)
        wide = (log_fan_out - self.log_fan_out).clamp(min=0)
        return late + high + wide

    def joined(self, other: Limits) -> Limits:
        """The limits of weights that have seen both."""
        mine, theirs = asdict(self), asdict(other)
        return Limits(**{name: max(mine[name], theirs[name]) for name in mine})


def trust(distance: Tensor) -> Tensor:
    """The share of what is learned that counts: 1 within the limits, 0 from `REACH` beyond them.

    It goes down smoothly in between.

    Args:
        distance: What `Limits.distance` returns.
    """
    x = (distance / REACH).clamp(max=1)
    return 1 - x * x * (3 - 2 * x)
