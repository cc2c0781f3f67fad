"""A meta-training run from start to end: checks, progress, checkpoints, interruption, resume."""

from __future__ import annotations

import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..inner import Processes, TrainConfig, join
from ..support import check_output
from ._family_source import DEFAULT_TASKS, load_family
from ._outer import outer_lr
from ._preflight import check_family, trial_step
from ._tracking import Tracker, WandbMode, tracking
from ._trainer import MetaTrainer

_WINDOW = 200
_LOG_EVERY = 10


def train(
    out: Path,
    config: TrainConfig,
    *,
    tasks: str = DEFAULT_TASKS,
    validation_tasks: str | None = None,
    resume: bool = False,
    wandb: WandbMode = "disabled",
    dry_run: bool = False,
) -> MetaTrainer:
    """Meta-trains a rule and writes it to `out`, every `config.save_every` steps and at the end.

    Ctrl-C ends the run after the step in progress, with a checkpoint; a second one at once.

    Args:
        out: Safetensors file to write; `out.resume` beside it holds what `resume` needs.
        config: Settings.
        tasks: The family, as `file.py:name` or `package.module:name`.
        validation_tasks: The family of the held-out tasks, likewise; that of `tasks` without.
        resume: Continue the run that wrote `out`.
        wandb: Whether wandb sends or keeps curves and tables.
        dry_run: Only check everything, with one trial step.

    Raises:
        ValueError: If `tasks` names no usable task family, or a resumed run's settings changed.
        FileNotFoundError: If there is nothing to resume.
        ConnectionError: If another process of this run has ended.
        KeyboardInterrupt: After a checkpoint, on Ctrl-C.
    """
    torch.set_num_threads(config.threads)
    check_output(out)
    family = load_family(tasks)
    validation = load_family(validation_tasks) if validation_tasks else family
    for checked in {id(f): f for f in (family, validation)}.values():
        check_family(checked)
    with join(config.device) as processes:
        trainer = MetaTrainer(family, config, validation=validation, processes=processes)
        if resume:
            trainer.resume(out)
        seconds = trial_step(trainer)
        if dry_run:
            _report(trainer, seconds)
            return trainer
        mode: WandbMode = wandb if processes.is_first else "disabled"
        with tracking(mode, out.parent, out.stem, asdict(config)) as tracker:
            _run(trainer, out, tracker)
    return trainer


def _report(trainer: MetaTrainer, seconds: float) -> None:
    """What a dry run found."""
    config = trainer.config
    if trainer.processes.is_first:
        runs = config.runs_per_step / trainer.runs_among.size
        hours = seconds * runs * config.outer_steps / 3600
        print(
            f"Everything is in place. A truncation took {seconds:.2f} s (the first is slow); "
            f"{config.outer_steps} outer steps would take about {hours:.1f} h or less."
        )


@dataclass
class _Monitor:
    """Shows and records how a run goes."""

    trainer: MetaTrainer
    progress: Progress
    tracker: Tracker
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def __post_init__(self) -> None:
        total, done = self.trainer.config.outer_steps, self.trainer.step
        self.bar = self.progress.add_task(
            "meta-training", total=total, completed=done, loss="", held_out=""
        )

    def step(self, loss: float) -> None:
        """After an outer step."""
        trainer = self.trainer
        self.recent.append(loss)
        mean = sum(self.recent) / len(self.recent)
        self.progress.update(self.bar, completed=trainer.step, loss=f"meta-loss {mean:.3f}")
        if trainer.step % _LOG_EVERY == 0 or trainer.step == trainer.config.outer_steps:
            window = list(self.recent)[-_LOG_EVERY:]
            metrics = {
                "meta_loss": sum(window) / len(window),
                "outer_lr": outer_lr(trainer.config, trainer.step - 1),
                "skipped": float(trainer.skipped),
                "seconds": trainer.seconds,
            }
            self.tracker.log(metrics, trainer.step)

    def validated(self, losses: torch.Tensor) -> None:
        """After a meta-validation."""
        assert self.trainer.best is not None
        score, (best, _) = float(losses.mean()), self.trainer.best
        self.progress.update(self.bar, held_out=f"held-out {score:.3f} (best {best:.3f})")
        step = self.trainer.step
        self.tracker.log({"validation/meta_loss": score, "validation/best": best}, step)
        rows = [(step, index, loss) for index, loss in enumerate(losses.tolist())]
        self.tracker.table("validation/tasks", ("outer_step", "task", "meta_loss"), rows, step)


def _run(trainer: MetaTrainer, out: Path, tracker: Tracker) -> None:
    config, command = trainer.config, "nfn-optim " + " ".join(sys.argv[1:])
    every = config.validate_every
    with _progress(trainer.processes) as progress, _interruption() as interrupted:
        monitor = _Monitor(trainer, progress, tracker)
        for loss in trainer.train():
            monitor.step(loss)
            is_last = trainer.step == config.outer_steps
            if every and (is_last or trainer.step % every == 0):
                losses, is_best = trainer.validate()
                monitor.validated(losses)
                if is_best:
                    trainer.save_best(out, command)
            if trainer.step % config.save_every == 0 or is_last:
                trainer.save(out, command)
            if interrupted() and trainer.processes.size == 1:
                trainer.save(out, command)
                raise KeyboardInterrupt


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Puts Ctrl-C off: gives a function that says whether it was pressed; the second time counts.

    Where signals cannot be handled, outside of the main thread, Ctrl-C is left as it is.
    """
    pressed: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _progress(processes: Processes) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[held_out]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not processes.is_first,
    )
