"""What the native step is told of a rule: its meta-parameters and settings."""

from __future__ import annotations

import math
from functools import lru_cache

from torch import Tensor

from ...rules import NFNRule, constants
from ...symmetry import Shape
from .. import Expected

LAYER = ("entry", "vector", "taps", "own", "neurons", "network", "bias")


def weights_in(rule: NFNRule) -> list[Tensor]:
    """The meta-parameters: `LAYER` of both layers, then weight and bias of the schedule."""
    layers = [getattr(layer, name) for layer in (rule.read, rule.write) for name in LAYER]
    return [*layers, rule.schedule.weight, rule.schedule.bias]


@lru_cache(maxsize=8)
def weights_of(hidden: int) -> list[Expected]:
    """What `weights_in` a rule are expected to be."""
    shapes = {
        f"{layer}.{name}": shape
        for layer, c, o in (("read", constants.ENTRY_CHANNELS, hidden), ("write", hidden, 2))
        for name, shape in zip(LAYER, _layer(c, o), strict=True)
    }
    read = constants.SCHEDULE_CHANNELS + constants.TREND_CHANNELS
    schedule = {"schedule.weight": (2, read), "schedule.bias": (2,)}
    return [Expected(f"the rule's {name}", shape) for name, shape in (shapes | schedule).items()]


def settings_of(rule: NFNRule) -> tuple[float, ...]:
    """As `Settings` of `parameter.h` has them."""
    config, limits = rule.config, rule.config.limits
    fans = (limits.log_fan_in, limits.log_fan_out)
    numbers = (limits.horizon, limits.memory, *fans, limits.weight_size)
    sizes = (config.relative, config.fading, math.log(config.initial_lr), config.first_share)
    return *numbers, *sizes, config.scaling, config.centred, config.careful


def _layer(c: int, o: int) -> list[Shape]:
    """Shapes of the parameters of a `SharedNPLinear`."""
    network = (2, o, 3 * c + constants.CONTEXT_CHANNELS)
    return [(o, c), (o, c), (o, c), (2, o, c), (3 * o, 3 * c), network, (2, o, 1)]
