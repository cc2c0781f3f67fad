"""The files in `results/`: what was measured, and how to measure it again."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Number(_Closed):
    """One figure.

    Attributes:
        mean: Its mean over seeds.
        spread: Its spread, as `Record.spread` says; None where it is unknown.
    """

    mean: float
    spread: float | None = None


class Row(_Closed):
    """All figures of one method on one task.

    Attributes:
        task: What was trained, or which data were read.
        method: What trained it, or which network read them.
        values: Figures by the name of their measure.
        commit: The code that made this row, where it is not the record's.
    """

    task: str
    method: str
    values: dict[str, Number] = Field(min_length=1)
    commit: Commit | None = None


class Record(_Closed):
    """One file.

    Attributes:
        title: What was measured, in a few words.
        protocol: How, in sentences.
        command: What measures it again.
        commit: The code that made it.
        date: When.
        machine: Where.
        seeds: The seeds of every figure.
        spread: What `Number.spread` is.
        measures: What each measure is, by its name.
        rows: The figures.
        transcribed: True where the figures were copied from a page, not written by the command.
        source: That page and its revision.
    """

    title: str
    protocol: str
    command: str
    commit: Commit
    date: date
    machine: str
    seeds: list[int] = Field(min_length=1)
    spread: str
    measures: dict[str, str]
    rows: list[Row] = Field(min_length=1)
    transcribed: bool = False
    source: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        named = [(row.task, row.method) for row in self.rows]
        if len(named) != len(set(named)):
            raise ValueError("two rows have the same task and method")
        unknown = {name for row in self.rows for name in row.values} - self.measures.keys()
        if unknown:
            raise ValueError(f"no measure is called {', '.join(sorted(unknown))}; add it there")
        if self.transcribed != (self.source is not None):
            raise ValueError("a transcribed record names its source, and no other record does")
        return self

    def number(self, task: str, method: str, measure: str) -> Number | None:
        """One figure, or None where it was not measured."""
        return next(
            (r.values.get(measure) for r in self.rows if (r.task, r.method) == (task, method)), None
        )

    @property
    def tasks(self) -> list[str]:
        """In the order of the rows, each once."""
        return list(dict.fromkeys(row.task for row in self.rows))

    @property
    def methods(self) -> list[str]:
        """In the order of the rows, each once."""
        return list(dict.fromkeys(row.method for row in self.rows))


def read_records(folder: Path = RESULTS) -> dict[str, Record]:
    """All records by the name of their file, without its suffix.

    Raises:
        pydantic.ValidationError: If a file does not follow the schema; says which field and why.
    """
    paths = sorted(folder.glob("*.json"))
    return {path.stem: Record.model_validate_json(path.read_text()) for path in paths}


def write_record(record: Record, path: Path) -> None:
    """Writes a record so that a change of a figure is a change of one line."""
    head = record.model_dump(mode="json", exclude_none=True)
    rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in head.pop("rows"))
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    path.write_text(f'{text},\n "rows": [\n  {rows}\n ]\n}}\n')
