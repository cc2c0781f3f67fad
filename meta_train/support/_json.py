"""Numbers as JSON can hold them."""

from __future__ import annotations

import math
from typing import Any


def clean(value: Any) -> Any:
    """A tree of plain values as JSON can hold it."""
    if isinstance(value, dict):
        return {key: clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
