"""Checks of the paths that a command writes to, before its work."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def check_output(path: Path) -> None:
    """Makes the folder of `path` and writes there.

    Raises:
        ValueError: If `path` is a folder.
        OSError: If nothing can be written there.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give the path of a file to write.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        NamedTemporaryFile(dir=path.parent, prefix=path.name).close()  # other processes try it too
    except OSError as error:
        raise OSError(
            f"{path.parent} is no folder that can be written to: {error.strerror}. Give a path "
            "elsewhere."
        ) from error


def check_overwrite(*paths: Path | None) -> None:
    """Checks files that are overwritten where there are any, and else made with their folders.

    Raises:
        ValueError: If one is a folder.
        OSError: If nothing can be written there.
    """
    for path in paths:
        if path is None:
            continue
        if not path.exists() or path.is_dir():
            check_output(path)
        elif not os.access(path, os.W_OK):
            raise PermissionError(f"{path} must not be written. Give another path, or allow it.")
