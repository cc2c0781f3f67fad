"""The command `nfn-optim train`, and its settings from a file."""

from __future__ import annotations

import dataclasses
import json as json_
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..inner import TrainConfig
from ..training import WandbMode
from ._console import write_json


def train(
    *,
    out: Path,
    tasks: str | None = None,
    validation_tasks: str | None = None,
    settings: Path | None = None,
    config: Annotated[TrainConfig, tyro.conf.OmitArgPrefixes] = TrainConfig(),  # noqa: B008
    resume: bool = False,
    wandb: WandbMode = "disabled",
    dry_run: bool = False,
    json: Path | None = None,
) -> None:
    """Meta-trains an optimizer.

    Args:
        out: Safetensors file to write; `out.resume` beside it holds what `resume` needs.
        tasks: A family of tasks, `file.py:name` or `package.module:name`; the bundled one without.
        validation_tasks: The family of the held-out tasks; that of `tasks` without.
        settings: A YAML or JSON file of settings; options on the command line go before it.
        config: Settings.
        resume: Continue the run that wrote `out`.
        wandb: Whether wandb sends or keeps curves and tables.
        dry_run: Only check everything, with one trial step.
        json: Where to write the run's card: settings, progress, versions.
    """
    from ..support import check_overwrite, clean
    from ..training import DEFAULT_TASKS
    from ..training import train as run

    check_overwrite(json)
    trainer = run(
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
    write_json(json, clean(trainer.card("nfn-optim train")))


def with_settings(arguments: Sequence[str]) -> Callable[..., None]:
    """`train`, with the file that `--settings` names as its defaults."""
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if option == "--settings" or option.startswith("--settings="):
            path = Path(option.partition("=")[2] or value)
            return partial(train, config=read_settings(path))
    return train


def read_settings(path: Path) -> TrainConfig:
    """Settings from a YAML or JSON file of `TrainConfig`'s attributes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no mapping, or has unknown settings, or values that do not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of settings {str(path)!r}.")
    values = _parse(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}, not a mapping of settings.")
    types = {f.name: type(f.default) for f in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise ValueError(f"{path} has unknown settings: {unknown}. There are {sorted(types)}.")
    return TrainConfig(**{k: _as(types[k], v, k, path) for k, v in values.items()})


def _parse(path: Path) -> Any:
    if path.suffix == ".json":
        try:
            return json_.loads(path.read_text())
        except json_.JSONDecodeError as error:
            raise ValueError(f"{path} is no JSON: {error}.") from error
    try:
        import yaml
    except ImportError as error:
        raise ValueError(f"{path} needs PyYAML. pip install pyyaml, or write JSON.") from error
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}.") from error


def _as(kind: type, value: Any, name: str, path: Path) -> Any:
    """A file's value as a setting: YAML reads 1e-3 as text, and has lists but no tuples."""
    try:
        if kind is float and not isinstance(value, bool):
            return float(value)
        if kind is tuple and isinstance(value, list):
            return tuple(map(str, value))
    except (TypeError, ValueError):
        pass
    if kind is type(None) or type(value) is kind:
        return value
    raise ValueError(f"{path}: {name} must be {kind.__name__}; got {value!r}.")
