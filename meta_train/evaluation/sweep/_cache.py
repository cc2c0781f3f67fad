"""Finished runs on disk, found again by what they depend on."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ...support import fingerprint, keep
from ..contenders import Contender, MakeOptimizer, MakeRule, Setting
from ..field import EvaluationTask
from ._packages import files_of
from ._run import Run, train
from ._stacked import run_sweep


class RunCache:
    """One file a task, contender, setting and seed.

    A run is found by its content: the code that poses the problem, its initial weights and first
    losses; the contender's code, weights and packages; setting, seed, steps and versions. A change
    in any of them makes a new entry.

    Args:
        folder: Where entries are kept; None keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find(self, name: str) -> Run | None:
        """The run of this name, if it is kept."""
        if self.folder is None or not (path := self.folder / name).exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as entry:
                told = json.loads(str(entry["run"]))
                setting = Setting(told["rate"], told["schedule"])
                return Run(setting, told["seed"], entry["losses"], told["scores"], told["failure"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None  # damaged: train again

    def keep(self, name: str, run: Run) -> None:
        """Writes a run in one move, if it can. What raised an error may be the machine's fault."""
        if self.folder is None or run.raised:
            return
        told = {
            "rate": run.setting.rate,
            "schedule": run.setting.schedule,
            "seed": run.seed,
            "scores": dict(run.scores),
            "failure": run.failure,
        }
        content = io.BytesIO()
        np.savez(content, losses=run.losses, run=json.dumps(told))
        keep(self.folder / name, content.getvalue())


def file_name(
    task: EvaluationTask, start: str, contender: Contender, setting: Setting, seed: int
) -> str:
    """Name of a run's file; `start` is the fingerprint of where the task starts."""
    code = _code_of(contender.make_optimizer, contender.make_rule, contender.packages)
    numbers = (torch.__version__, task.num_steps, setting, seed, contender.told)
    label = re.sub(r"[^\w.-]", "_", f"{task.name}-{contender.name}")
    return f"{label}-{fingerprint(numbers, start, code)[:16]}.npz"


@cache
def _code_of(
    make_optimizer: MakeOptimizer | None, make_rule: MakeRule | None, packages: tuple[str, ...]
) -> str:
    """Hash of a contender's code, of the weights of its rule, and of the loops that train."""
    weights = make_rule(torch.ones(1)).state_dict() if make_rule is not None else {}
    files = [files_of(package) for package in packages]
    return fingerprint(make_optimizer, make_rule, dict(weights), files, train, run_sweep)
