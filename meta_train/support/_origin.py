"""Whose code raised an exception."""

from __future__ import annotations

import sysconfig
import traceback
from functools import lru_cache
from pathlib import Path

import nfn_optim

_OURS = (Path(__file__).parents[1], Path(nfn_optim.__file__).parent)
_PYTHON = Path(sysconfig.get_paths()["stdlib"])

_KEPT = "_users_traceback"


def users_traceback(error: BaseException) -> str:
    """Where an exception passed through the user's code: file, line and code of each frame.

    Frames of these packages and of others are left out; empty where there are no more.
    """
    return "".join(traceback.format_list(_frames(error))) or getattr(error, _KEPT, "")


def users_line(error: BaseException) -> str:
    """Where in the user's code an exception comes from, as `file.py:3`; empty where it does not."""
    frames = _frames(error)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]


def in_packages(file: str) -> bool:
    """Whether a file of code belongs to these packages."""
    return any(Path(file).resolve().is_relative_to(root.resolve()) for root in _OURS)


def keep_traceback(error: BaseException) -> None:
    """Lets `users_traceback` know the present frames in another process, too."""
    setattr(error, _KEPT, users_traceback(error))


@lru_cache
def _is_users(file: str) -> bool:
    if file.startswith("<"):  # made while it runs, such as <frozen importlib>
        return False
    path = Path(file).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return not (installed or in_packages(file) or path.is_relative_to(_PYTHON.resolve()))
