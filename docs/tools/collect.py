"""Puts what `nfn-optim evaluate --json` wrote into a file of `results/`.

    python docs/tools/collect.py results/digits.json out/digits.json

The record's words stay; rows, seeds, date and commit become those of the new measurement.
"""

from __future__ import annotations

import json
import statistics
import sys
from datetime import date
from pathlib import Path
from typing import Any

from records import Number, Record, Row, write_record

TITLES = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "muon": "Muon + AdamW"}


def rows_of(evaluation: dict[str, Any]) -> list[Row]:
    """A row for every contender on every task; what is not finite is left out."""
    lengths = {task["name"]: task["num_steps"] for task in evaluation["tasks"]}
    found = {(row["task"], row["contender"]): row for row in evaluation["rows"]}
    return [
        Row(
            task=task,
            method=TITLES.get(contender, contender),
            values=_measures(row)
            | _against({p: found[task, p] for p in row["steps_to"]}, row, lengths[task]),
        )
        for (task, contender), row in found.items()
    ]


def _measures(row: dict[str, Any]) -> dict[str, Number]:
    measured = {"end_loss": row["end_loss"], "mean_loss": row["mean_loss"], **row["scores"]}
    return {
        name: Number(mean=_rounded(figure["mean"]), spread=_rounded(figure["std"]))
        for name, figure in measured.items()
        if figure["mean"] is not None
    }


def _against(
    peers: dict[str, dict[str, Any]], row: dict[str, Any], num_steps: int
) -> dict[str, Number]:
    """Speed-ups over peers, and losses over theirs."""
    values = {}
    for name, peer in peers.items():
        speedups = [num_steps / steps if steps else 0.0 for steps in row["steps_to"][name]]
        spread = _rounded(statistics.pstdev(speedups))
        values[f"speedup_{name}"] = Number(mean=_rounded(statistics.mean(speedups)), spread=spread)
        for loss in ("end_loss", "mean_loss"):
            if row[loss]["mean"] is not None and peer[loss]["mean"]:
                ratio = row[loss]["mean"] / peer[loss]["mean"]
                values[f"{loss}_over_{name}"] = Number(mean=_rounded(ratio))
    return values


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def main(target: Path, source: Path) -> None:
    """Rewrites `target` with what is in `source`."""
    evaluation = json.loads(source.read_text())
    record = Record.model_validate_json(target.read_text())
    changes = {
        "rows": rows_of(evaluation),
        "seeds": evaluation["seeds"],
        "date": date.today(),
        "commit": evaluation["commit"][:10],
    }
    write_record(Record.model_validate({**record.model_dump(), **changes}), target)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
