"""A meta-training run from start to end: checks, progress, checkpoints, interruption, resume."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ..inner import join
from ..support import check_output
from ._config import RunConfig
from ._family_source import DEFAULT_TASKS, load_family
from ._interruption import deferred_interruption
from ._monitor import Monitor, outer_progress
from ._preflight import check_family, trial_step
from ._settings import to_plain
from ._tracking import Tracker, WandbMode, tracking
from ._trainer import MetaTrainer


def run_meta_training(
    out: Path,
    config: RunConfig,
    *,
    tasks: str = DEFAULT_TASKS,
    validation_tasks: str | None = None,
    resume: bool = False,
    wandb: WandbMode = "disabled",
    dry_run: bool = False,
) -> MetaTrainer:
    """Meta-trains a rule and writes it to `out`, every `config.save_every` steps and at the end.

    Ctrl-C ends the run after the outer step in progress, with a checkpoint, also where only one of
    several processes gets it; a second one ends the process at once.

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
        trial = trial_step(trainer)
        if dry_run:
            _report(trainer, *trial)
            return trainer
        mode: WandbMode = wandb if processes.is_first else "disabled"
        with tracking(mode, out.parent, out.stem, to_plain(config)) as tracker:
            is_interrupted = _outer_loop(trainer, out, tracker)
    if is_interrupted:  # raised here, so that the processes have left together
        raise KeyboardInterrupt
    return trainer


def _report(trainer: MetaTrainer, seconds: float, steps: int) -> None:
    """What a dry run found."""
    config, pool = trainer.config, trainer.pool
    if trainer.processes.is_first:
        runs = config.inner.runs_per_step / pool.runs_among.size
        hours = seconds * runs * config.outer_steps / 3600
        print(
            f"Everything is in place. An estimate of {steps} inner steps took {seconds:.2f} s (the "
            f"first is slow); {config.outer_steps} outer steps with estimates of this length would "
            f"take about {hours:.1f} h or less."
        )


def _outer_loop(trainer: MetaTrainer, out: Path, tracker: Tracker) -> bool:
    """Takes the outer steps that are left; whether Ctrl-C ended the run."""
    config, command = trainer.config, "nfn-optim " + " ".join(sys.argv[1:])
    processes = trainer.processes
    with (
        outer_progress(is_shown=processes.is_first) as bars,
        deferred_interruption() as is_pressed,
    ):
        monitor = Monitor(trainer, bars, tracker)

        def validate() -> None:
            losses, is_best = trainer.validate()
            monitor.validated(losses)
            if is_best:
                trainer.save_best(out, command)

        def is_due() -> bool:
            return config.validation.is_due(trainer.step, config.outer_steps)

        if trainer.step == 0 and is_due():
            validate()
        for loss in trainer.train():
            monitor.step(loss)
            is_last = trainer.step == config.outer_steps
            if is_due():
                validate()
            is_interrupted = processes.any(is_pressed())
            if trainer.step % config.save_every == 0 or is_last or is_interrupted:
                trainer.save(out, command)
            if is_interrupted:
                return True
    return False
