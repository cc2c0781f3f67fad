"""The files of packages whose code is not followed: libraries, and what is loaded by name."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path


@cache
def files_of(package: str) -> str:
    """Hash of a package's or module's Python files; empty where there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [p for folder in folders for p in folder.rglob("*.py")] or [Path(spec.origin)]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()
