"""Names that users give, and what they may be."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def choose(what: str, name: str, known: Iterable[str]) -> str:
    """The name, if it is one of those known.

    Raises:
        ValueError: If it is not, with all that are.
    """
    known = list(known)
    if name not in known:
        raise ValueError(f"there is no {what} {name!r} here. Choose one of {', '.join(known)}.")
    return name


def choose_device(name: str) -> torch.device:
    """The device of a name.

    Raises:
        ValueError: If torch does not know it or cannot reach it.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {error}") from error
    return device
