"""What all commands show and write alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich import progress
from rich.console import Console


def progress_bars() -> progress.Progress:
    """Progress bars with the time left, on stderr."""
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        speed_estimate_period=600,  # seconds; some steps of a bar take minutes
    )


def write_json(path: Path | None, content: Any) -> None:
    """Writes a command's numbers where `--json` says, and says so."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(content) + "\n")
        print(f"JSON: {path}")


def dumps(content: Any) -> str:
    """JSON that people can read too."""
    return json.dumps(content, indent=2, allow_nan=False)
