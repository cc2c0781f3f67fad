"""The command `nfn-optim train`, with its settings from a file or not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ..training import FINE_TUNING, RunConfig, WandbMode
from ._console import prose, write_json
from ._settings import read_settings

if TYPE_CHECKING:
    from ..evaluation import Evaluation
    from ..training import MetaTrainer

HALF_LEFT_OUT = 3  # exit status


def train(
    *,
    out: Path,
    tasks: str | None = None,
    validation_tasks: str | None = None,
    settings: Path | None = None,
    config: Annotated[RunConfig, tyro.conf.arg(name="")] = RunConfig(),  # noqa: B008
    resume: bool = False,
    overwrite: bool = False,
    wandb: WandbMode = "disabled",
    tensorboard: bool = False,
    dry_run: bool = False,
    processes: int = 1,
    table: bool = True,
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Meta-trains an optimizer.

    Beside `out` stand `.jsonl` with every step and `.best.safetensors` of meta-validation. Ctrl-C
    and SIGTERM finish the step and save. Exit statuses: 0 done; 1 your code raised something; 2
    refused; 3 done, but half of the estimates or more were not finite; 130 Ctrl-C; 143 SIGTERM.

    The settings of an estimator follow its name; `nfn-optim train estimator:pes --help` shows those
    of `estimator:pes`.

    Args:
        out: Safetensors file to write; `out.resume` beside it holds what `resume` needs.
        tasks: A family of tasks, `file.py:name` or `package.module:name`; the bundled one without.
        validation_tasks: The family of the held-out tasks; that of `tasks` without.
        settings: A YAML or JSON file with all of this, `out` and `tasks` included; options on the
            command line override it.
        config: Settings. A run that starts from a checkpoint (`--init`) is short and at a low rate
            where these say nothing else: `meta_train.FINE_TUNING`.
        resume: Continue the run that wrote `out`; with more outer steps, if you like.
        overwrite: Start over where `out` exists.
        wandb: Whether wandb sends or keeps curves and tables.
        tensorboard: Write curves for TensorBoard, too, into a folder beside `out`.
        dry_run: Only check everything, with one trial step.
        processes: Processes on this machine that share the work, each of `--threads` threads: the
            runs of an outer step (`--inner.runs-per-step`, best four a process or more), or the
            pairs of an evolution strategy. The result is that of one process.
        table: Whether to end with a table of some held-out tasks: did it help?
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write the run's card, which has settings, progress and versions, and the
            numbers of the table as `held_out`.
    """
    from ..support import add_note, check_output, check_overwrite, clean
    from ..training import (
        DEFAULT_TASKS,
        check_shares,
        check_start,
        is_started,
        launch,
        run_display,
        run_meta_training,
    )

    check_overwrite(json)
    if not is_started(processes):
        check_output(out)  # here, so that it is said once
        check_start(out, resume=resume, overwrite=overwrite)
        check_shares(config.estimator, config.inner, processes)
        sys.exit(launch(processes, [sys.executable, "-m", "meta_train", *sys.argv[1:]]))
    run = partial(
        run_meta_training,
        out,
        config,
        tasks=tasks or DEFAULT_TASKS,
        validation_tasks=validation_tasks,
        resume=resume,
        overwrite=overwrite,
        wandb=wandb,
        tensorboard=tensorboard,
    )
    if dry_run:
        tried = run(dry_run=True)
        if tried.processes.is_first:
            write_json(json, clean(tried.card("nfn-optim train")))
        return
    from ._verdict import STAGE, compare, inner_steps

    later = {STAGE: inner_steps(config)} if table else {}
    trainer: MetaTrainer | None = None
    found: Evaluation | None = None
    try:
        with run_display(out, config, tensorboard=tensorboard, plain=plain) as display:
            trainer = run(display=display, later=later)
            if table and trainer.processes.is_first:
                found = compare(trainer, display)
    except KeyboardInterrupt as error:
        if trainer is not None:
            add_note(error, f"The run is over and saved in {out}; only the table is missing.")
        raise
    finally:
        if trainer is not None and trainer.processes.is_first:
            _report(trainer, found, out, json)
    if trainer.processes.is_first and 2 * trainer.skipped >= trainer.num_estimates > 0:
        sys.exit(HALF_LEFT_OUT)


def _report(trainer: MetaTrainer, found: Evaluation | None, out: Path, json: Path | None) -> None:
    """Says what a finished run has written, and whether it helped."""
    from ..evaluation import to_json
    from ..support import clean
    from ..training import best_path, journal_path, left_out, tensorboard_path
    from ._verdict import print_verdict

    prose(f"Optimizer: {out}, after {trainer.step} outer steps. Every step: {journal_path(out)}")
    if best_path(out).exists():
        prose(f"Best in meta-validation: {best_path(out)}")
    if tensorboard_path(out).exists():
        print(f"Curves: tensorboard --logdir {tensorboard_path(out)}")
    card = clean(trainer.card("nfn-optim train"))
    if found is not None:
        print_verdict(found, trainer, out)
        card |= {"held_out": to_json(found)}
    write_json(json, card)
    if trainer.skipped:
        print(f"nfn-optim: warning: {left_out(trainer)}", file=sys.stderr)


def with_settings(arguments: Sequence[str]) -> Callable[..., None]:
    """`train`, with the defaults that follow from `--settings` and `--init`."""
    file, init = (_given(name, arguments) for name in ("--settings", "--init"))
    if file is not None:
        found = read_settings(Path(file), init)
        return partial(train, config=found.config, **found.options)
    if init is None:
        return train
    return partial(train, config=replace(FINE_TUNING, rule=replace(FINE_TUNING.rule, init=init)))


def _given(name: str, arguments: Sequence[str]) -> str | None:
    """The value of an option, if it is there."""
    for option, value in zip(arguments, (*arguments[1:], ""), strict=False):
        if option == name or option.startswith(f"{name}="):
            return option.partition("=")[2] or value
    return None
