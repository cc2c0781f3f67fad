"""The native step, compiled with the rule's constants, which it has no copies of."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ... import _native as native
from .. import _inputs, _polar
from .._nfn import NFNRule


def _definitions() -> tuple[str, ...]:
    numbers = {
        "NUM_DECAYS": len(_inputs.DECAYS),
        "NUM_TIMES": len(_inputs.TIMES),
        "ENTRY_CHANNELS": _inputs.ENTRY_CHANNELS,
        "CONTEXT_CHANNELS": _inputs.CONTEXT_CHANNELS,
        "SCHEDULE_CHANNELS": _inputs.SCHEDULE_CHANNELS,
        "SQUARE_DECAY": _inputs.SQUARE_DECAY,
        "TINY": _inputs.TINY,
        "CLIP": _inputs.CLIP,
        "LARGEST": _inputs.LARGEST,
        "LAST": _inputs.LAST,
        "WIDEST_LOG_FAN": _inputs.WIDEST_LOG_FAN,
        "BETA": NFNRule.BETA,
        "HORIZON": NFNRule.HORIZON,
        "LONGEST": NFNRule.LONGEST,
        "MAX_LOG_MAGNITUDE": NFNRule.MAX_LOG_MAGNITUDE,
    }
    lists = {
        "DECAYS": _inputs.DECAYS,
        "TIMES": _inputs.TIMES,
        "POLAR_COEFFICIENTS": _polar.COEFFICIENTS,
        "OBLONG": _polar.OBLONG,
        "SQUARE": _polar.SQUARE,
    }
    joined = {name: "{" + ",".join(map(str, values)) + "}" for name, values in lists.items()}
    return tuple(f"-DRULE_{name}={value}" for name, value in (numbers | joined).items())


library, can_build = native.loaders(Path(str(files(__package__))) / "step.cpp", _definitions)
