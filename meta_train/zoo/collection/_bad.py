"""Networks that cannot be used: named and counted, and refused unless the caller skips them."""

from __future__ import annotations

from collections.abc import Mapping

_SHOWN = 5


class BadNetwork(ValueError):
    """Why one network cannot be used; whoever catches it adds the name."""


def refuse(bad: Mapping[str, str], total: int, skip_bad: bool) -> None:
    """Raises one error for all bad networks, unless they are skipped.

    Raises:
        ValueError: Naming the first of them and what is wrong with each.
    """
    if bad and not skip_bad:
        raise ValueError(
            f"{describe_bad(bad, total)} Mend them, or leave them out with skip_bad (--skip-bad)."
        )


def describe_bad(bad: Mapping[str, str], total: int) -> str:
    """How many cannot be used, and why."""
    shown = "; ".join(f"{name!r} {reason}" for name, reason in list(bad.items())[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return f"{len(bad)} cannot be used, where there are {total} networks: {shown}{more}."
