"""Which process advances which run of an outer step, so that all of them end it together."""

from __future__ import annotations

from collections.abc import Sequence

_WORTH = 0.95  # runs move where the step then takes at most this share of its time


def deal(expected: Sequence[float], owners: Sequence[int], size: int) -> list[int]:
    """Deals the longest runs first, each to the process that has least to do.

    Runs stay where they are where moving them gains next to nothing. The same numbers are dealt
    alike everywhere.

    Args:
        expected: Seconds that each run is expected to take; 0 where that is not known.
        owners: The process that has each run.
        size: Number of processes.

    Returns:
        The process of each run.
    """
    known = [seconds for seconds in expected if seconds > 0]
    usual = sum(known) / len(known) if known else 1.0
    costs = [seconds if seconds > 0 else usual for seconds in expected]
    dealt, busy = list(owners), [0.0] * size
    for run in sorted(range(len(costs)), key=lambda run: -costs[run]):
        dealt[run] = min(range(size), key=lambda rank: (busy[rank], rank != owners[run]))
        busy[dealt[run]] += costs[run]
    return dealt if max(busy) <= _WORTH * _longest(costs, owners, size) else list(owners)


def _longest(costs: Sequence[float], owners: Sequence[int], size: int) -> float:
    """How long the process takes that has most to do."""
    pairs = list(zip(costs, owners, strict=True))
    return max(sum(cost for cost, owner in pairs if owner == rank) for rank in range(size))
