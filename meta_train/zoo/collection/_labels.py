"""Tables of labels: CSV, Parquet, or columns in memory; a row for each network."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Value = str | int | float | None
Labels = str | Path | Mapping[str, Sequence[Any]]
"""The path of a table, or columns by name."""

_NAMES = ("network", "name", "file", "path")
_EXAMPLE = "such as {'file': ['a.pt', 'b.pt'], 'accuracy': [0.9, 0.8]}"
_EMPTY = ("", "na", "nan", "none", "null")


def read_columns(labels: Labels) -> dict[str, list[Value]]:
    """The columns of a table.

    A column of a CSV file holds integers if all of its values are, else numbers if all are, else
    strings. Empty values are None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, is something else, or columns differ in length.
    """
    if isinstance(labels, Mapping):
        columns = {str(name): _column(str(name), values) for name, values in labels.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of labels differ in length: {lengths}. Give a value a row.")
        return columns
    if not isinstance(labels, str | Path):
        raise ValueError(
            f"labels are a {type(labels).__name__}. Give the path of a table, or columns by name, "
            f"{_EXAMPLE}."
        )
    path = Path(labels)
    if not path.is_file():
        raise FileNotFoundError(f"there is no table of labels {path}. Give a CSV or Parquet file.")
    return _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)


def names_column(columns: Mapping[str, Sequence[Value]]) -> str:
    """Which column names the networks: `network`, `name`, `file` or `path`, else the first."""
    return next((name for name in _NAMES if name in columns), next(iter(columns)))


def check_columns(columns: Mapping[str, Any], *wanted: str) -> None:
    """Whether columns are there.

    Raises:
        ValueError: Naming one that is not, and those that are.
    """
    for name in wanted:
        if name not in columns:
            raise ValueError(f"there is no label {name!r}. Choose one of {', '.join(columns)}.")


def _read_csv(path: Path) -> dict[str, list[Value]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file with a line of column names ({error}).") from error
    if len(set(header)) < len(header):
        raise ValueError(f"{path} has a column name twice: {header}. Rename one.")
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(
                f"{path} has {len(row)} values in row {line}, but {len(header)} columns."
            )
    if not rows:
        raise ValueError(f"{path} has no rows. Give one for each network.")
    texts = zip(*rows, strict=True)
    named = names_column(dict.fromkeys(header, ()))
    return {
        name: list(column) if name == named else _parse([text.strip() for text in column])
        for name, column in zip(header, texts, strict=True)
    }


def _parse(texts: Sequence[str]) -> list[Value]:
    """Integers if all are, else numbers if all are, else strings."""
    kinds: tuple[Callable[[str], Value], ...] = (int, float, str)
    for kind in kinds:
        try:
            return [None if text.lower() in _EMPTY else kind(text) for text in texts]
        except ValueError:
            continue
    raise AssertionError("every text is a string")


def _read_parquet(path: Path) -> dict[str, list[Value]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(
            f"{path} is a Parquet file, and pyarrow is not installed. Install it "
            "(pip install pyarrow), or give the table as CSV."
        ) from error
    try:
        columns = parquet.read_table(path).to_pydict()
    except Exception as error:  # pyarrow has its own types of errors
        raise ValueError(f"{path} cannot be read as Parquet ({error}).") from error
    return read_columns(columns)


def _column(name: str, values: Any) -> list[Value]:
    is_one = isinstance(values, str) or getattr(values, "ndim", 1) == 0
    if is_one or not isinstance(values, Iterable):
        raise ValueError(
            f"labels have {values!r} under {name!r}, which is no column of values. Give columns by "
            f"name, {_EXAMPLE}."
        )
    return [_plain(value) for value in values]


def _plain(value: Any) -> Value:
    """A value of numpy or torch as Python's own; NaN is None."""
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool):
        return str(plain)
    if plain is not None and not isinstance(plain, str | int | float):
        raise ValueError(
            f"a label is {plain!r}, of the type {type(plain).__name__}. Give strings and numbers."
        )
    return None if plain != plain else plain
