"""The files of a meta-training run: the rule, what resumes it, and what is needed to rerun it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def resume_path(path: Path) -> Path:
    """What `resume` reads, beside the rule at `path`."""
    return path.with_name(path.name + ".resume")


def best_path(path: Path) -> Path:
    """The rule that was best in meta-validation, beside the latest at `path`."""
    return path.with_name(f"{path.stem}.best{path.suffix}")


def save_resume(state: dict[str, Any], path: Path) -> None:
    """Writes what resumes the run of `path` in one move: a killed process leaves the old file."""
    target = resume_path(path)
    temporary = target.with_name(target.name + ".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)


def load_resume(path: Path) -> dict[str, Any]:
    """Reads what `save_resume` wrote.

    Raises:
        FileNotFoundError: If there is nothing to resume.
        ValueError: If the file is damaged.
    """
    source = resume_path(path)
    if not source.exists():
        raise FileNotFoundError(f"nothing to resume: {source} does not exist. Leave out --resume.")
    try:
        return dict(torch.load(source, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch.load documents no exceptions
        raise ValueError(f"{source} is damaged ({type(error).__name__}). Start again.") from error
