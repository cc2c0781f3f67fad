"""Sweeps on disk, found again by what they depend on."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..support import source_of
from ..tasks import Task
from ._contenders import Contender, Setting
from ._sweep import Advance, Sweep, run_sweep

_VERSION = 1  # of the protocol: raise it when equal inputs give other curves
_PROBE_STEPS = 3


class SweepCache:
    """Runs a sweep once and reads it back after that.

    A sweep is found by its content: initial parameters of every seed, the losses of the first steps
    (and with them data, loss function and update rule), the rule's source and hyperparameters,
    settings, number of steps and versions. A change in any of them makes a new entry.

    Args:
        folder: Where entries are kept; None keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def run(
        self,
        name: str,
        task: Task,
        contender: Contender,
        seeds: Sequence[int],
        num_steps: int,
        advance: Advance,
    ) -> Sweep:
        """Like `run_sweep`; `name` is the task's."""
        if self.folder is None:
            return run_sweep(task, contender, seeds, num_steps, advance)
        key = sweep_key(task, contender, seeds, num_steps)
        path = self.folder / f"{_file_name(name)}-{_file_name(contender.name)}-{key}.npz"
        if not path.exists():
            _save(run_sweep(task, contender, seeds, num_steps, advance), path)
        else:
            advance(num_steps * len(seeds) * len(contender.settings))
        return _load(path)


def sweep_key(task: Task, contender: Contender, seeds: Sequence[int], num_steps: int) -> str:
    """Hash of everything that the curves depend on."""
    digest = hashlib.sha256()
    rule = contender.make_rule(torch.tensor(contender.rates))
    plain = {k: v for k, v in vars(rule).items() if isinstance(v, int | float | tuple)}
    numbers = (_VERSION, torch.__version__, num_steps, tuple(seeds), contender.settings)
    names = (contender.name, str(rule), plain, source_of(rule), task.spec)
    digest.update(repr((numbers, names)).encode())
    initial = [task.init(torch.Generator().manual_seed(seed)) for seed in seeds]
    for tensors in (rule.state_dict(), *initial):
        for tensor in tensors.values():
            digest.update(tensor.detach().numpy().tobytes())
    probe = run_sweep(task, contender, seeds[:1], _PROBE_STEPS).losses
    digest.update(" ".join(f"{loss:.3e}" for loss in probe.flat).encode())
    return digest.hexdigest()[:16]


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _save(sweep: Sweep, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.npz")
    arrays = {
        "rates": np.array([setting.rate for setting in sweep.settings]),
        "schedules": np.array([setting.schedule for setting in sweep.settings]),
        "seeds": np.array(sweep.seeds),
        "losses": sweep.losses,
        **{f"score {name}": values for name, values in sweep.scores.items()},
    }
    np.savez(temporary, allow_pickle=False, **arrays)
    os.replace(temporary, path)


def _load(path: Path) -> Sweep:
    with np.load(path, allow_pickle=False) as entry:
        pairs = zip(entry["rates"].tolist(), entry["schedules"].tolist(), strict=True)
        scores = {k.removeprefix("score "): entry[k] for k in entry if k.startswith("score ")}
        settings = tuple(Setting(rate, schedule) for rate, schedule in pairs)
        return Sweep(settings, tuple(entry["seeds"].tolist()), entry["losses"], scores)
