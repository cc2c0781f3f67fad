"""A meta-training run from start to end: checks, progress, checkpoints, interruption, resume."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import torch

from ..inner import LostContact, Processes, join
from ..support import Display, Interrupted, Work, check_output, duration
from ._checkpoints import Checkpoints
from ._config import RunConfig
from ._family_source import DEFAULT_TASKS, load_family
from ._files import (
    best_path,
    check_start,
    clear,
    clear_temporary,
    journal_path,
    tensorboard_path,
)
from ._forecast import validations
from ._interruption import deferred_interruption
from ._journal import Journal
from ._monitor import Monitor
from ._preflight import check_family
from ._settings import to_plain
from ._tracking import WandbMode, check_tracking, tracking
from ._trainer import MetaTrainer
from ._trial import OUTER_STEPS, VALIDATIONS, try_out

_LOOKING = "looking at the tasks"
_MORE = "More of them (--outer-steps) make the run longer."


def run_meta_training(
    out: Path,
    config: RunConfig,
    *,
    tasks: str = DEFAULT_TASKS,
    validation_tasks: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    wandb: WandbMode = "disabled",
    tensorboard: bool = False,
    dry_run: bool = False,
    display: Display | None = None,
    later: Mapping[str, int] = MappingProxyType({}),
) -> MetaTrainer:
    """Meta-trains a rule and writes it to `out`, every `config.save_every` steps and at the end.

    Every step and meta-validation is a line of the journal, `stem.jsonl` beside `out`.

    Ctrl-C, SIGTERM and SIGHUP end the run after the outer step in progress, with a checkpoint, also
    where only one of several processes gets it; a second Ctrl-C ends the process at once. What a
    family raises ends the run with a checkpoint of the finished steps. A note of the exception says
    what is saved and how to go on.

    Args:
        out: Safetensors file to write; `out.resume` beside it holds what `resume` needs.
        config: Settings.
        tasks: The family, as `file.py:name` or `package.module:name`.
        validation_tasks: The family of the held-out tasks, likewise; that of `tasks` without.
        resume: Continue the run that wrote `out`; it may take more outer steps now.
        overwrite: Start over where `out` exists.
        wandb: Whether wandb sends or keeps curves and tables.
        tensorboard: Whether to write curves for TensorBoard, into `stem.tensorboard` beside `out`.
        dry_run: Only check everything, with one trial step.
        display: Where to show the work, which a caller may go on with; one of its own without.
        later: Stages that the caller goes on with, and how many inner steps each is: the time left
            is that of all.

    Raises:
        ValueError: If `tasks` names no usable task family, `out` exists and is neither resumed nor
            overwritten, or a resumed run's settings changed.
        FileNotFoundError: If there is nothing to resume.
        OSError: If `out` cannot be written.
        ConnectionError: If another process of this run has ended.
        KeyboardInterrupt: After a checkpoint, on Ctrl-C; `Interrupted` on another signal.
    """
    torch.set_num_threads(config.threads)
    check_output(out)
    check_start(out, resume=resume, overwrite=overwrite)
    check_tracking(wandb, tensorboard)
    with ExitStack() as ends:
        shown = display or ends.enter_context(run_display(out, config, tensorboard=tensorboard))
        all_ = ends.enter_context(join(config.device))
        work = _plan(shown, later)
        trainer = _make_trainer(config, tasks, validation_tasks or tasks, all_, shown)
        if resume:
            trainer.resume(out)
            if trainer.step == config.outer_steps and all_.is_first:
                shown.say(f"note: all {trainer.step} outer steps are taken. {_MORE}")
        try_out(trainer).plan(work, trainer, later)
        work.end(_LOOKING)
        if not dry_run:
            if all_.is_first:
                clear_temporary(out)
                if not resume:
                    clear(out)
            curves = tensorboard_path(out) if tensorboard and all_.is_first else None
            mode: WandbMode = wandb if all_.is_first else "disabled"
            checkpoints = Checkpoints(trainer, out, shown.say)
            with tracking(mode, curves, out.parent, out.stem, to_plain(config)) as trackers:
                is_told = all_.is_first
                journal = Journal(journal_path(out), trainer.step, shown.say) if is_told else None
                monitor = Monitor(trainer, work, shown.say, journal, trackers)
                number = _outer_loop(trainer, monitor, checkpoints)
    if dry_run:
        _report(trainer, work)
    else:
        _end(number, checkpoints)  # here, so that the processes have left together
    return trainer


def run_display(
    out: Path, config: RunConfig, *, tensorboard: bool = False, plain: bool = False
) -> Display:
    """What shows a run: of several processes that of the first one."""
    best = [best_path(out).name] if validations(config, 0) else []
    files = [out.name, *best, journal_path(out).name]
    files += [tensorboard_path(out).name] if tensorboard else []
    is_first = os.environ.get("RANK", "0") == "0"
    return Display(f"{out.parent}: {', '.join(files)}", plain=plain, is_shown=is_first)


def _plan(display: Display, later: Iterable[str]) -> Work:
    """All stages, before anything is known of them."""
    work = Work(display)
    for stage in (_LOOKING, OUTER_STEPS, VALIDATIONS, *later):
        work.plan(stage)
    work.begin(_LOOKING)
    return work


def _make_trainer(
    config: RunConfig, tasks: str, validation_tasks: str, processes: Processes, display: Display
) -> MetaTrainer:
    """A trainer of families that were looked at; what is worth a word is printed."""
    families = {name: load_family(name) for name in dict.fromkeys((tasks, validation_tasks))}
    for name, family in families.items():
        for note in check_family(family):
            if processes.is_first:
                display.say(f"note: {name}: {note}")
    return MetaTrainer(
        families[tasks],
        config,
        validation=families[validation_tasks],
        processes=processes,
        labels={"family": tasks, "validation_family": validation_tasks},
    )


def _report(trainer: MetaTrainer, work: Work) -> None:
    """What a dry run found, and the settings that depend on where the rule starts."""
    config = trainer.config
    if trainer.processes.is_first:
        start, outer = config.rule.init or "a new rule", config.outer
        rate = f"outer rate {outer.lr:g} after {outer.warmup} steps"
        print(f"From {start}: {rate}, ema {outer.ema:g}.")
        validated = validations(config, trainer.step)
        steps = f"{config.outer_steps - trainer.step} outer steps"
        seconds = work.seconds_left() or 0.0
        todo = f"{steps} and {validated} meta-validations" if validated else steps
        print(f"Everything is in place. {todo} will take about {duration(seconds)}.")
        print("Fewer --outer-steps, or a lower --max-horizon or --max-networks, make it shorter.")


def _outer_loop(trainer: MetaTrainer, monitor: Monitor, checkpoints: Checkpoints) -> int | None:
    """Takes the outer steps that are left; gives the signal that ended the run, if one did."""
    config, processes = trainer.config, trainer.processes
    try:
        with deferred_interruption() as came:
            if trainer.validated != trainer.step:
                _validate(trainer, monitor, checkpoints, came)
            for loss in trainer.train():
                monitor.step(loss)
                is_last = trainer.step == config.outer_steps
                _validate(trainer, monitor, checkpoints, came)
                is_ended = processes.any(came() is not None)
                if trainer.step % config.save_every == 0 or is_last or is_ended:
                    checkpoints.save(is_last=is_last or is_ended)
                if is_ended:
                    return came() or signal.SIGINT
    except BaseException as error:
        if isinstance(error, LostContact) and came() is not None:
            return came()  # another process was not yet here, and the same signal ended it at once
        checkpoints.save_rest(error)
        checkpoints.explain(error)
        raise
    return None


def _validate(
    trainer: MetaTrainer,
    monitor: Monitor,
    checkpoints: Checkpoints,
    came: Callable[[], int | None],
) -> None:
    """A meta-validation, where one is due; a signal ends it after one of its runs."""
    config = trainer.config
    if not config.validation.is_due(trainer.step, config.outer_steps):
        return
    monitor.validating()
    found = trainer.validate(lambda: came() is not None)
    if found is None:
        return
    losses, is_best = found
    monitor.validated(losses)
    if is_best:
        checkpoints.save_best()


def _end(number: int | None, checkpoints: Checkpoints) -> None:
    """Raises what ended a run too early."""
    error = checkpoints.failure or (None if number is None else Interrupted(number))
    if error is not None:
        checkpoints.explain(error)
        raise error
