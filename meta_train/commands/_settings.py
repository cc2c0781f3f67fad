"""What `nfn-optim train` reads from a file of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..training import FINE_TUNING, RunConfig, WandbMode, from_plain

_PATHS = ("out", "json")
_TEXTS = ("tasks", "validation_tasks", "wandb")
_FLAGS = ("tensorboard", "table")
_MODES: tuple[WandbMode, ...] = ("online", "offline", "disabled")
_ONCE = ("resume", "overwrite", "dry_run", "processes", "settings")


@dataclass(frozen=True)
class Settings:
    """A file of settings.

    Attributes:
        config: The settings of `RunConfig`, which are nested as it is.
        options: What else the run needs, by the names of the options of `train`: `out`, `json`,
            `tasks`, `validation_tasks`, `wandb`, `tensorboard` and `table`.
    """

    config: RunConfig
    options: Mapping[str, Any] = field(default_factory=dict)


def read_settings(path: Path, init: str | None = None) -> Settings:
    """Settings from a YAML or JSON file; those that it leaves out are the defaults.

    Args:
        path: The file.
        init: A checkpoint to start from, which counts before that of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no mapping, or has unknown settings, or values that do not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of settings {str(path)!r}.")
    try:
        values = _parse(path)
        if not isinstance(values, Mapping):
            return Settings(from_plain(values))
        options = {name: _option(name, v) for name, v in values.items() if _is_option(name)}
        rest = {name: value for name, value in values.items() if not _is_option(name)}
        config = from_plain(rest)
        start = init or config.rule.init
        return Settings(config if start is None else from_plain(rest, FINE_TUNING), options)
    except ValueError as error:
        raise ValueError(f"the settings in {path} cannot be used: {error}") from error


def _is_option(name: str) -> bool:
    return name in (*_PATHS, *_TEXTS, *_FLAGS, *_ONCE)


def _option(name: str, value: Any) -> Any:
    if name in _ONCE:
        raise ValueError(f"{name} is no setting of a run. Give --{name.replace('_', '-')} instead.")
    kind = bool if name in _FLAGS else str
    if not isinstance(value, kind) or (name == "wandb" and value not in _MODES):
        wanted = {"wandb": f"one of {', '.join(_MODES)}"}.get(
            name, "true or false" if kind is bool else "text"
        )
        raise ValueError(f"{name} must be {wanted}; got {value!r}.")
    return Path(str(value)) if name in _PATHS else value


def _parse(path: Path) -> Any:
    if path.suffix == ".json":
        try:
            return json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"it is no JSON: {error}.") from error
    try:
        import yaml
    except ImportError as error:
        raise ValueError("YAML needs PyYAML. pip install pyyaml, or write JSON.") from error
    try:
        return yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML: {error}.") from error
