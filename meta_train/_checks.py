"""Checks that configurations of all kinds share."""

from __future__ import annotations


def require_counts(config: object, *names: str) -> None:
    """Checks that fields of a configuration are at least 1.

    Raises:
        ValueError: Naming the first that is not.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1; got {getattr(config, name)}.")
