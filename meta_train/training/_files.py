"""The files of a meta-training run: the rule, what resumes it, and its journal.

All of them stand beside the rule `out`: `out.resume`, `stem.best.safetensors`, `stem.jsonl` and
`stem.tensorboard`.
"""

from __future__ import annotations

import io
import shutil
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

import torch

from nfn_optim.files import write_whole


def resume_path(path: Path) -> Path:
    """What `resume` reads, beside the rule at `path`."""
    return path.with_name(path.name + ".resume")


def best_path(path: Path) -> Path:
    """The rule that was best in meta-validation, beside the latest at `path`."""
    return path.with_name(f"{path.stem}.best{path.suffix}")


def journal_path(path: Path) -> Path:
    """Every step and meta-validation, beside the rule at `path`."""
    return path.with_name(f"{path.stem}.jsonl")


def tensorboard_path(path: Path) -> Path:
    """The folder of curves for TensorBoard, beside the rule at `path`."""
    return path.with_name(f"{path.stem}.tensorboard")


def check_start(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Checks that a run does not start over what an earlier one left.

    Raises:
        ValueError: If it would, or if it is to do both.
    """
    if resume and overwrite:
        raise ValueError("--resume goes on and --overwrite starts over. Leave one of them out.")
    found = [file for file in (path, resume_path(path), best_path(path)) if file.exists()]
    if found and not (resume or overwrite):
        raise ValueError(
            f"{found[0]} exists. Go on with that run by --resume, start over by --overwrite, or "
            "give another --out."
        )


def clear(path: Path) -> None:
    """Removes what an earlier run left beside the rule at `path`, but for the rule itself."""
    for file in (resume_path(path), best_path(path), journal_path(path)):
        file.unlink(missing_ok=True)
    shutil.rmtree(tensorboard_path(path), ignore_errors=True)


def clear_temporary(path: Path) -> None:
    """Removes what a process left that was killed while it wrote the files of `path`."""
    for file in (
        *path.parent.glob(f"{escape(path.name)}*.tmp"),
        *path.parent.glob(f"{escape(path.stem)}.best*.tmp"),
    ):
        with suppress(OSError):
            file.unlink()


def save_resume(state: dict[str, Any], path: Path) -> None:
    """Writes what resumes the run of `path` in one move: a failure leaves the file of before."""
    content = io.BytesIO()  # torch.save tells a full disk by a RuntimeError
    torch.save(state, content)
    write_whole(resume_path(path), content.getvalue())


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
