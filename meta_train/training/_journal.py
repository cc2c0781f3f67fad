"""The journal of a run: one line of JSON for every outer step and every meta-validation."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..support import clean


class Journal:
    """Appends entries to a file of JSON lines.

    Where it cannot be written, as on a full disk, that is told once; entries wait and nothing ends.

    Args:
        path: The file; entries of outer steps after `step` are removed from it.
        step: Where the run goes on.
        tell: Shows a line.
    """

    def __init__(self, path: Path, step: int, tell: Callable[[str], None]) -> None:
        self.path, self.tell, self._waiting = path, tell, b""
        self._size = _size_up_to(path, step) if path.exists() else 0

    def add(self, entry: Mapping[str, Any]) -> None:
        """Writes an entry, and those that could not be written before it."""
        self._waiting += json.dumps(clean(dict(entry)), allow_nan=False).encode() + b"\n"
        try:
            self._write()
        except OSError as error:
            if self._waiting.count(b"\n") == 1:
                reason = error.strerror or str(error)
                self.tell(f"warning: {self.path} cannot be written: {reason}. Its lines wait.")
            return
        self._size += len(self._waiting)
        self._waiting = b""

    def _write(self) -> None:
        with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0) as file:
            file.truncate(self._size)
            file.seek(self._size)
            if file.write(self._waiting) != len(self._waiting):  # the disk is full
                file.truncate(self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All entries of a journal."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def _size_up_to(path: Path, step: int) -> int:
    """Bytes of the entries up to an outer step; a line that is cut off ends them."""
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if json.loads(line)["outer_step"] > step or not line.endswith(b"\n"):
                break
        except (ValueError, KeyError, TypeError):
            break
        size += len(line)
    return size
