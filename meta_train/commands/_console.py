"""What all commands show and write alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ..support import Display, add_note, command


@contextmanager
def long_work(files: str, *, kept: str, plain: bool) -> Iterator[Display]:
    """Shows long work; where it is interrupted, says what is kept, and the command that goes on.

    Args:
        files: Where files go.
        kept: What an interruption leaves, as a sentence.
        plain: Whether to print lines in a terminal, too.
    """
    try:
        with Display(files, plain=plain) as display:
            yield display
    except KeyboardInterrupt as error:
        add_note(error, f"{kept} Go on with:\n  {command()}")
        raise


def prose(text: str, *, stderr: bool = False) -> None:
    """Prints sentences; a terminal gets them wrapped between words, but for what is indented."""
    console = Console(stderr=stderr)
    for line in text.splitlines():
        is_whole = line.startswith("  ") or not console.is_terminal
        console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=is_whole)


def figures(title: str, name: str, *columns: str) -> Table:
    """A table of figures for 80 columns: names, which may have to be typed, are never cut.

    Args:
        title: What it shows.
        name: Head of the first column.
        columns: Heads of the others.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(name, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def print_table(table: Table) -> None:
    """Prints a table below its title, which may be wider."""
    console, title = Console(), table.title
    table.title = None
    if title:
        console.print(title, style="italic", markup=False, highlight=False)
    console.print(table)


def use_threads(threads: int) -> None:
    """Takes so many intra-op threads.

    Raises:
        ValueError: If there are none.
    """
    import torch

    if threads < 1:
        raise ValueError(f"--threads must be at least 1; got {threads}.")
    torch.set_num_threads(threads)


def write_json(path: Path | None, content: Any) -> None:
    """Writes a command's numbers where `--json` says, and says so."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(content) + "\n")
        print(f"JSON: {path}")


def dumps(content: Any) -> str:
    """JSON that people can read too."""
    return json.dumps(content, indent=2, allow_nan=False)
