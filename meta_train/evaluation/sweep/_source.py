"""The source of packages, for keys that must notice when it changes."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path

_SUFFIXES = {".py", ".cpp", ".h", ".cu"}


@cache
def source_of(package: str) -> str:
    """Hash of all source files of an importable package or module; empty where there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [Path(spec.origin)] if not folders else _sources(folders)
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _sources(folders: Sequence[Path]) -> list[Path]:
    return sorted(p for folder in folders for p in folder.rglob("*") if p.suffix in _SUFFIXES)
