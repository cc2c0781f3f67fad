"""An evaluation as JSON, there and back: every figure, and what it was measured with."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ...support import clean, provenance
from ._over_tasks import FACTORS, profile, versus
from ._results import Curve, Evaluation, Group, Measured, Row, TaskInfo

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


def from_json(content: Mapping[str, Any]) -> Evaluation:
    """The evaluation that `to_json` wrote; what is missing there was not finite."""
    return Evaluation(
        tuple(TaskInfo(**task) for task in content["tasks"]),
        tuple(content["seeds"]),
        tuple(_read_row(row) for row in content["rows"]),
    )


def _read_row(row: Mapping[str, Any]) -> Row:
    known = {name: value for name, value in row.items() if name != "seconds_to"}
    known["end_loss"], known["mean_loss"] = map(_measured, (row["end_loss"], row["mean_loss"]))
    known["scores"] = {name: _measured(score) for name, score in row["scores"].items()}
    known["steps_to"] = {peer: _numbers(steps) for peer, steps in row["steps_to"].items()}
    known["added_rates"] = tuple(row["added_rates"])
    known["curve"] = Curve(**{name: _numbers(values) for name, values in row["curve"].items()})
    return Row(**known)


def _measured(values: Mapping[str, Any]) -> Measured:
    mean, std = _numbers((values["mean"], values["std"]))
    per_seed = _numbers(values["per_seed"])
    return Measured(mean, std, per_seed, values["rate"], values["schedule"])


def _numbers(values: Sequence[float | None]) -> tuple[Any, ...]:
    return tuple(math.inf if value is None else value for value in values)


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
