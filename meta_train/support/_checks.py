"""Checks that configurations of all kinds share."""

from __future__ import annotations


def require_counts(config: object, *names: str) -> None:
    """Checks that fields of a configuration are at least 1: numbers, or tuples of some.

    Raises:
        ValueError: Naming the first that is not.
    """
    for name in names:
        value = getattr(config, name)
        counts = value if isinstance(value, tuple | list) else (value,)
        if not counts or min(counts) < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
