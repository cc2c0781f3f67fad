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


def require_positive(config: object, *names: str) -> None:
    """Checks that fields of a configuration are above 0; errors as for `require_counts`."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} must be positive; got {getattr(config, name)}.")


def require_not_negative(config: object, *names: str) -> None:
    """Checks that fields of a configuration are at least 0; errors as for `require_counts`."""
    for name in names:
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name} must not be negative; got {getattr(config, name)}.")


def require_shares(config: object, *names: str) -> None:
    """Checks that fields of a configuration are in [0, 1]; errors as for `require_counts`."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must be in [0, 1]; got {getattr(config, name)}.")
