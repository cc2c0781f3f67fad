"""Checks of names that users give."""

from __future__ import annotations

from collections.abc import Iterable


def choose(what: str, name: str, known: Iterable[str]) -> str:
    """Returns a name if it is known.

    Raises:
        ValueError: If it is not; the message lists those that are.
    """
    known = list(known)
    if name not in known:
        raise ValueError(f"there is no {what} {name!r} here. Choose one of {', '.join(known)}.")
    return name
