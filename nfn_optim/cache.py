"""Where files are kept that can be made or fetched again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$NFN_CACHE`, else `nfn_optim` in `$XDG_CACHE_HOME` or `~/.cache`; it need not exist."""
    if chosen := os.environ.get("NFN_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nfn_optim"
