"""The command `nfn-optim train`, with its settings from a file or not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from ..training import FINE_TUNING, RunConfig, WandbMode
from ._console import write_json
from ._settings import read_settings

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
        json: Where to write the run's card, which has settings, progress and versions, and the
            numbers of the table as `held_out`.
    """
    from ..support import check_output, check_overwrite, clean
    from ..training import (
        DEFAULT_TASKS,
        check_shares,
        check_start,
        is_started,
        journal_path,
        launch,
        left_out,
        run_meta_training,
    )

    check_overwrite(json)
    if not is_started(processes):
        check_output(out)  # here, so that it is said once
        check_start(out, resume=resume, overwrite=overwrite)
        check_shares(config.estimator, config.inner, processes)
        sys.exit(launch(processes, [sys.executable, "-m", "meta_train", *sys.argv[1:]]))
    trainer = run_meta_training(
        out,
        config,
        tasks=tasks or DEFAULT_TASKS,
        validation_tasks=validation_tasks,
        resume=resume,
        overwrite=overwrite,
        wandb=wandb,
        tensorboard=tensorboard,
        dry_run=dry_run,
    )
    if not trainer.processes.is_first:
        return
    card = clean(trainer.card("nfn-optim train"))
    if dry_run:
        write_json(json, card)
        return
    print(f"Optimizer: {out}, after {trainer.step} outer steps. Every step: {journal_path(out)}")
    try:
        if table:
            from ._verdict import print_verdict

            card |= {"held_out": print_verdict(trainer, out)}
    finally:
        write_json(json, card)
    if trainer.skipped:
        print(f"nfn-optim: warning: {left_out(trainer)}", file=sys.stderr)
    if 2 * trainer.skipped >= trainer.num_estimates > 0:
        sys.exit(HALF_LEFT_OUT)


def with_settings(arguments: Sequence[str]) -> Callable[..., None]:
    """`train`, with the defaults that follow from `--settings` and `--init`."""
    file, init = (_given(name, arguments) for name in ("--settings", "--init"))
    if file is not None:
        found = read_settings(Path(file), init)
        return partial(train, config=found.config, **found.options)
    return train if init is None else partial(train, config=FINE_TUNING)


def _given(name: str, arguments: Sequence[str]) -> str | None:
    """The value of an option, if it is there."""
    for option, value in zip(arguments, (*arguments[1:], ""), strict=False):
        if option == name or option.startswith(f"{name}="):
            return option.partition("=")[2] or value
    return None
