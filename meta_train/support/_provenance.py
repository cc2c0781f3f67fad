"""What code ran, for everything that is written down."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from nfn_optim import __version__


def versions() -> dict[str, Any]:
    """What the numbers were measured with."""
    return {
        "nfn_optim": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def provenance() -> dict[str, Any]:
    """What code ran: versions, and the commit where there is one."""
    return {"versions": versions(), "torch": torch.__version__, "git": _git_hash()}


def _git_hash() -> str:
    try:
        call = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
        )
    except OSError:
        return "unknown"
    return call.stdout.strip() or "unknown"
