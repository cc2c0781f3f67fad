"""Settings as plain values, as in files of settings, cards and resume files.

They are nested as `RunConfig` is. The estimator stands under the name of its class:
`{"outer_steps": 100, "outer": {"lr": 1e-3}, "estimator": {"PES": {"std": 0.02}}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass, replace
from typing import Any, get_args, get_type_hints

from ._config import RunConfig

_NAMES: dict[Any, str] = {
    **{bool: "true or false", int: "a whole number", float: "a number", str: "text"},
    **{str | None: "text or null", tuple[str, ...]: "a list of text"},
}


def to_plain(config: RunConfig) -> dict[str, Any]:
    """All settings as mappings, numbers, text and tuples."""
    estimator = {type(config.estimator).__name__: asdict(config.estimator)}
    return {**asdict(config), "estimator": estimator}


def from_plain(values: Any, defaults: RunConfig = RunConfig()) -> RunConfig:  # noqa: B008
    """The settings that plain values describe; those that are missing are those of `defaults`.

    Raises:
        ValueError: Naming, with its path, a setting that does not exist or whose value does not
            fit.
    """
    return _group(defaults, values, "")


def differences(first: RunConfig, second: RunConfig) -> list[str]:
    """Paths of the settings that differ, such as `outer.lr`."""
    one, other = (dict(_leaves(to_plain(config), "")) for config in (first, second))
    paths = one | other
    return sorted(path for path in paths if one.get(path) != other.get(path))


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _group(defaults: Any, values: Any, path: str) -> Any:
    """A dataclass of settings like `defaults`; `path` is empty or ends with a dot."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{path.rstrip('.') or 'they'} must be a mapping; got {values!r}.")
    kinds = get_type_hints(type(defaults))
    for name in values:
        if name not in kinds:
            raise ValueError(f"there is no setting {path}{name}. {_hint(name, path, kinds)}")
    given = {
        name: _value(kinds[name], getattr(defaults, name), value, path + name)
        for name, value in values.items()
    }
    return replace(defaults, **given)


def _hint(name: str, path: str, known: Iterable[str]) -> str:
    """Where a setting of this name is, or which there are at this place."""
    groups = [(p, k) for p, k in get_type_hints(RunConfig).items() if is_dataclass(k)]
    places = [f"{group}.{name}" for group, kind in groups if name in get_type_hints(kind)]
    if places:
        return f"Is it {' or '.join(places)}?"
    return f"There are {', '.join(path + each for each in known)}."


def _value(kind: Any, default: Any, value: Any, path: str) -> Any:
    if is_dataclass(kind):
        return _group(default, value, f"{path}.")
    choices = {k.__name__: k for k in get_args(kind) if isinstance(k, type) and is_dataclass(k)}
    return _choice(choices, value, path) if choices else _leaf(kind, value, path)


def _choice(choices: Mapping[str, Any], value: Any, path: str) -> Any:
    """One of several dataclasses, from a mapping of its name to its settings."""
    if not isinstance(value, Mapping) or len(value) != 1 or not value.keys() <= choices.keys():
        raise ValueError(
            f"{path} must be the name of one of {', '.join(choices)} with its settings, such as "
            f"{{PES: {{std: 0.02}}}}; got {value!r}."
        )
    ((name, settings),) = value.items()
    return _group(choices[name](), settings, f"{path}.{name}.")


def _leaf(kind: Any, value: Any, path: str) -> Any:
    """A single value: YAML reads 1e-3 as text, and has lists but no tuples."""
    if kind == tuple[str, ...]:
        if isinstance(value, list | tuple):
            return tuple(map(str, value))
    elif kind is float and type(value) in (int, float, str):
        with suppress(ValueError):
            return float(value)
    elif type(value) in (kind, *get_args(kind)):
        return value
    raise ValueError(f"{path} must be {_NAMES[kind]}; got {value!r}.")
