"""An evaluation as JSON: every figure, and what it was measured with."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from typing import Any

from ...support import clean, provenance
from ._over_tasks import FACTORS, profile, versus
from ._results import Evaluation, Group, Row

_GROUPS: tuple[Group, ...] = ("tuned", "untuned")


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything as plain values; numbers that are not finite become None."""
    known = provenance()
    content = {
        "command": " ".join(["nfn-optim", *sys.argv[1:]]),
        "commit": known["git"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": known["versions"],
        **asdict(evaluation),
        "rows": [_row(row) for row in evaluation.rows],
        "over_tasks": {group: _over_tasks(evaluation, group) for group in _GROUPS},
    }
    return clean(content)


def _row(row: Row) -> dict[str, Any]:
    return {**asdict(row), "seconds_to": {peer: row.seconds_to(peer) for peer in row.steps_to}}


def _over_tasks(evaluation: Evaluation, group: Group) -> dict[str, Any]:
    peers = evaluation.names(group)
    if not peers:
        return {}
    pairs = [(name, peer) for name in evaluation.names("judged") for peer in peers]
    shares = {
        unit: profile(evaluation, group, in_seconds=unit == "seconds")
        for unit in ("steps", "seconds")
    }
    return {
        "versus": [asdict(v) for pair in pairs if (v := versus(evaluation, *pair))],
        "profile_factors": FACTORS.tolist(),
        "profiles": {
            unit: {name: share.tolist() for name, share in of_unit.items()}
            for unit, of_unit in shares.items()
        },
    }
