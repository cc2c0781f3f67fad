"""What all commands show and write alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import progress
from rich.console import Console

from ..support import duration, shown


@contextmanager
def progress_bars() -> Iterator[progress.Progress]:
    """Progress bars with the time left, on stderr; without a terminal a line every 30 seconds."""
    bars = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        speed_estimate_period=600,  # seconds; some steps of a bar take minutes
    )
    with shown(bars, _line):
        yield bars


@contextmanager
def evaluation_progress() -> Iterator[Callable[[str, float, float], None]]:
    """A bar of what `evaluate` tells: what is running, how much is done, and how much there is."""
    with progress_bars() as bars:
        bar = bars.add_task("preparing", total=None)
        yield lambda label, done, total: bars.update(
            bar, description=label, completed=done, total=total
        )


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage that is told of: its name, how much is done, and how much there is."""
    with progress_bars() as bars:
        rows: dict[str, progress.TaskID] = {}

        def on_progress(label: str, done: int, total: int) -> None:
            if label not in rows:
                rows[label] = bars.add_task(label, total=total)
            bars.update(rows[label], completed=done, total=total)

        yield on_progress


def use_threads(threads: int) -> None:
    """Takes so many intra-op threads.

    Raises:
        ValueError: If there are none.
    """
    import torch

    if threads < 1:
        raise ValueError(f"--threads must be at least 1; got {threads}.")
    torch.set_num_threads(threads)


def _line(task: progress.Task) -> str:
    """The state of a bar."""
    if not task.total:
        return f"{task.description} ({duration(task.elapsed or 0)})"
    left = task.time_remaining
    rest = "" if left is None else f", {duration(left)} left"
    return f"{task.description}, {task.percentage:.0f}%{rest}"


def write_json(path: Path | None, content: Any) -> None:
    """Writes a command's numbers where `--json` says, and says so."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(content) + "\n")
        print(f"JSON: {path}")


def dumps(content: Any) -> str:
    """JSON that people can read too."""
    return json.dumps(content, indent=2, allow_nan=False)
