"""The command `nfn-optim train`, and its settings from a file."""

from __future__ import annotations

import json as json_
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..training import RunConfig, WandbMode, from_plain
from ._console import write_json


def train(
    *,
    out: Path,
    tasks: str | None = None,
    validation_tasks: str | None = None,
    settings: Path | None = None,
    config: Annotated[RunConfig, tyro.conf.arg(name="")] = RunConfig(),  # noqa: B008
    resume: bool = False,
    wandb: WandbMode = "disabled",
    dry_run: bool = False,
    table: bool = True,
    json: Path | None = None,
) -> None:
    """Meta-trains an optimizer.

    The settings of an estimator follow its name; `nfn-optim train estimator:pes --help` shows those
    of `estimator:pes`.

    Args:
        out: Safetensors file to write; `out.resume` beside it holds what `resume` needs.
        tasks: A family of tasks, `file.py:name` or `package.module:name`; the bundled one without.
        validation_tasks: The family of the held-out tasks; that of `tasks` without.
        settings: A YAML or JSON file of settings; options on the command line override it.
        config: Settings.
        resume: Continue the run that wrote `out`.
        wandb: Whether wandb sends or keeps curves and tables.
        dry_run: Only check everything, with one trial step.
        table: Whether to end with a table of some held-out tasks: did it help?
        json: Where to write the run's card: settings, progress, versions.
    """
    from ..support import check_overwrite, clean
    from ..training import DEFAULT_TASKS, run_meta_training

    check_overwrite(json)
    trainer = run_meta_training(
        out,
        config,
        tasks=tasks or DEFAULT_TASKS,
        validation_tasks=validation_tasks,
        resume=resume,
        wandb=wandb,
        dry_run=dry_run,
    )
    if not trainer.processes.is_first:
        return
    if not dry_run:
        print(f"Optimizer: {out}")
        if table:
            from ._verdict import print_verdict

            print_verdict(trainer, out)
    write_json(json, clean(trainer.card("nfn-optim train")))


def with_settings(arguments: Sequence[str]) -> Callable[..., None]:
    """`train`, with the file that `--settings` names as its defaults."""
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if option == "--settings" or option.startswith("--settings="):
            path = Path(option.partition("=")[2] or value)
            return partial(train, config=read_settings(path))
    return train


def read_settings(path: Path) -> RunConfig:
    """Settings from a YAML or JSON file, nested as `RunConfig` is.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no mapping, or has unknown settings, or values that do not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of settings {str(path)!r}.")
    try:
        return from_plain(_parse(path))
    except ValueError as error:
        raise ValueError(f"the settings in {path} cannot be used: {error}") from error


def _parse(path: Path) -> Any:
    if path.suffix == ".json":
        try:
            return json_.loads(path.read_text())
        except json_.JSONDecodeError as error:
            raise ValueError(f"it is no JSON: {error}.") from error
    try:
        import yaml
    except ImportError as error:
        raise ValueError("YAML needs PyYAML. pip install pyyaml, or write JSON.") from error
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML: {error}.") from error
