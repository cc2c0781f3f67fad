"""Names that users give, and what they may be."""

from __future__ import annotations

from collections.abc import Iterable


def choose(what: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is one of those known.

    Raises:
        ValueError: If it is not, with all that are.
    """
    known = list(known)
    if name not in known:
        raise ValueError(f"there is no {what} {name!r} here. Choose one of {', '.join(known)}.")
    return name
