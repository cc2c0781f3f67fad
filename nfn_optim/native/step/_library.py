"""The native step, compiled with the rule's constants, which it has no copies of."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ...rules import constants, default_size
from .. import Library


def definitions() -> tuple[str, ...]:
    """Options of the compiler that define the rule's constants."""
    numbers = {
        "NUM_DECAYS": len(constants.DECAYS),
        "NUM_TIMES": len(constants.TIMES),
        "ENTRY_CHANNELS": constants.ENTRY_CHANNELS,
        "CONTEXT_CHANNELS": constants.CONTEXT_CHANNELS,
        "SCHEDULE_CHANNELS": constants.SCHEDULE_CHANNELS,
        "TREND_CHANNELS": constants.TREND_CHANNELS,
        "SQUARE_DECAY": constants.SQUARE_DECAY,
        "TINY": constants.TINY,
        "CLIP": constants.CLIP,
        "LAST": constants.LAST,
        "REACH": constants.REACH,
        "LOUD_DECAY": constants.LOUD_DECAY,
        "LEAST_LOUD": constants.LEAST_LOUD,
        "LARGEST_RATIO": constants.LARGEST_RATIO,
        "TYPICAL_SIZE": default_size(constants.TYPICAL_FAN),
        "OPENING": constants.OPENING,
        "UNOPENED": constants.UNOPENED,
        "MOST_OPENING": constants.MOST_OPENING,
        "ASKED_DECAY": constants.ASKED_DECAY,
        "ASKED_UNIT": constants.ASKED_UNIT,
        "MOST_GROWTH": constants.MOST_GROWTH,
        "SCALED_ALIKE": constants.SCALED_ALIKE,
        "UNPOINTED": constants.UNPOINTED,
        "AGREED_DECAY": constants.AGREED_DECAY,
        "AGREED_UNIT": constants.AGREED_UNIT,
        "BETA": constants.BETA,
        "INITIAL_LOG_RECENCY": constants.INITIAL_LOG_RECENCY,
        "MAX_LOG_MAGNITUDE": constants.MAX_LOG_MAGNITUDE,
        "STEEP_DECAY": constants.STEEP_DECAY,
        "STEEP_EXPONENT": constants.STEEP_EXPONENT,
        "LEAST_NEW": constants.LEAST_NEW,
        "RIDGE": constants.RIDGE,
        "POLAR_STEPS": constants.POLAR_STEPS,
    }
    lists = {
        "DECAYS": constants.DECAYS,
        "TIMES": constants.TIMES,
        "POLAR_COEFFICIENTS": constants.POLAR_COEFFICIENTS,
    }
    joined = {name: "{" + ",".join(map(str, values)) + "}" for name, values in lists.items()}
    return tuple(f"-DRULE_{name}={value}" for name, value in (numbers | joined).items())


LIBRARY = Library(Path(str(files(__package__))) / "step.cpp", definitions)
