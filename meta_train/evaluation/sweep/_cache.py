"""Finished runs on disk, found again by what they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import torch

from nfn_optim import UpdateRule

from ...support import fingerprint
from ..contenders import Contender, Setting
from ..field import EvaluationTask
from ._run import Run
from ._source import source_of

_VERSION = 3  # of the protocol: raise it when equal inputs give other curves
_OWN = ("meta_train.evaluation.sweep._run", "meta_train.evaluation.sweep._stacked")


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
        with np.load(path, allow_pickle=False) as entry:
            told = json.loads(str(entry["run"]))
            setting = Setting(told["rate"], told["schedule"])
            return Run(setting, told["seed"], entry["losses"], told["scores"], told["failure"])

    def keep(self, name: str, run: Run) -> None:
        """Writes a run in one move. What raised an error may have been the machine's fault."""
        if self.folder is None or run.raised:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        told = {
            "rate": run.setting.rate,
            "schedule": run.setting.schedule,
            "seed": run.seed,
            "scores": dict(run.scores),
            "failure": run.failure,
        }
        temporary = self.folder / f"{name}.{os.getpid()}.npz"
        np.savez(temporary, losses=run.losses, run=json.dumps(told))
        os.replace(temporary, self.folder / name)


def file_name(
    task: EvaluationTask, start: str, contender: Contender, setting: Setting, seed: int
) -> str:
    """Name of a run's file; `start` is the fingerprint of where the task starts."""
    numbers = (_VERSION, torch.__version__, task.num_steps, setting, seed, contender.told)
    names = (start, fingerprint_of(contender))
    digest = hashlib.sha256(repr((numbers, names)).encode()).hexdigest()[:16]
    label = re.sub(r"[^\w.-]", "_", f"{task.name}-{contender.name}")
    return f"{label}-{digest}.npz"


@cache
def fingerprint_of(contender: Contender) -> str:
    """Hash of a contender's code and of the weights of its rule."""
    code = [source_of(package) for package in (*_OWN, *contender.packages)]
    made = () if contender.make_rule is None else contender.make_rule(torch.ones(1))
    weights = dict(made.state_dict()) if isinstance(made, UpdateRule) else {}
    return fingerprint(code, contender.make_optimizer, contender.make_rule, made, weights)
