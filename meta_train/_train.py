"""The `train` command: a meta-training run with a progress bar, checkpoints and resume."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections import deque
from pathlib import Path
from types import ModuleType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ._config import TrainConfig
from ._trainer import MetaTrainer
from .tasks import TaskFamily

DEFAULT_TASKS = "meta_train.tasks:default_family"
_WINDOW = 200


def train(
    out: Path, config: TrainConfig, *, tasks: str = DEFAULT_TASKS, resume: bool = False
) -> MetaTrainer:
    """Meta-trains a rule and writes it to `out`, every `config.save_every` steps and at the end.

    Args:
        out: Safetensors file to write; `out.resume` beside it holds what `resume` needs.
        config: Settings.
        tasks: The family, as `file.py:name` or `package.module:name`.
        resume: Continue the run that wrote `out`.

    Raises:
        ValueError: If `tasks` names no task family, or the settings of a resumed run changed.
        FileNotFoundError: If there is nothing to resume.
    """
    torch.set_num_threads(config.threads)
    trainer = MetaTrainer(load_family(tasks), config)
    if resume:
        trainer.resume(out)
    command = "nfn-optim " + " ".join(sys.argv[1:])
    recent: deque[float] = deque(maxlen=_WINDOW)
    with _progress() as progress:
        bar = progress.add_task(
            "meta-training", total=config.outer_steps, completed=trainer.step, loss=""
        )
        for loss in trainer.train():
            recent.append(loss)
            progress.update(bar, completed=trainer.step, loss=f"{sum(recent) / len(recent):.3f}")
            if trainer.step % config.save_every == 0:
                trainer.save(out, command)
    trainer.save(out, command)
    return trainer


def load_family(tasks: str) -> TaskFamily:
    """Imports a family named `file.py:name` or `package.module:name`.

    Raises:
        ValueError: If there is no such file, module or name, or it is no `TaskFamily`.
    """
    source, _, name = tasks.partition(":")
    if not name:
        raise ValueError(
            f"tasks {tasks!r} lacks a name. Write file.py:family or package.module:family."
        )
    family = getattr(_load(source), name, None)
    if not isinstance(family, TaskFamily):
        raise ValueError(
            f"{name!r} in {source} is {type(family).__name__}, not an instance of "
            "meta_train.tasks.TaskFamily. Define one there, e.g. family = MyFamily()."
        )
    return family


def _load(source: str) -> ModuleType:
    if not source.endswith(".py"):
        try:
            return importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"cannot import {source!r}: {error}. Give a file.py or a module."
            ) from error
    path = Path(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(
            f"there is no Python file {source!r}. Give the path of the file of the family."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("meta-loss {task.fields[loss]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
