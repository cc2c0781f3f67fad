"""What a rule's meta-training has seen: it travels with the weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from .constants import TYPICAL_FAN


@dataclass(frozen=True)
class Limits:
    """What meta-training has seen; beyond it a rule takes careful steps.

    By default there are no limits, as befits a rule that has learned nothing.

    Attributes:
        horizon: Steps of the longest run; later steps shrink like one over the time.
        memory: Steps that the average remembers; after as many it forgets as fast as it learns.
        fan_in: Largest fan-in; beyond it steps shrink like one over the fan-in, so that what a
            neuron adds up moves as it did (Yang et al. 2022, arXiv 2203.03466, for Adam).
        weight_size: Largest root mean square of a parameter; larger ones look like this to the
            rule, so that its steps never make it ask for larger steps.

    Raises:
        ValueError: If one is not positive.
    """

    horizon: float = math.inf
    memory: float = math.inf
    fan_in: float = math.inf
    weight_size: float = 2.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"limits: {name} must be positive; got {value!r}.")

    @property
    def log_fan_in(self) -> float:
        """Log of `fan_in` over a typical fan-in, as the rule's descriptors have it."""
        return math.log(self.fan_in / TYPICAL_FAN)

    def joined(self, other: Limits) -> Limits:
        """The limits of weights that have seen both."""
        mine, theirs = asdict(self), asdict(other)
        return Limits(**{name: max(mine[name], theirs[name]) for name in mine})
