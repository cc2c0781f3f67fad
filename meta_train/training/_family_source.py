"""Families of tasks by name, as on the command line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ..support import ModuleNotFound, import_module
from ..tasks import TaskFamily

DEFAULT_TASKS = "meta_train.tasks:default_family"


def load_family(tasks: str) -> TaskFamily:
    """Imports a family of tasks.

    A file is executed each time; it may import modules beside it. What it raises is passed on.

    Args:
        tasks: `file.py:name` or `package.module:name`.

    Raises:
        ValueError: If there is no such file, module or name, or it is no `TaskFamily`.

    Example:
        >>> load_family("meta_train.tasks:default_family")
        Mixture(...)
    """
    family = load_reference_to(tasks, "tasks")
    if not isinstance(family, TaskFamily):
        source, _, name = tasks.rpartition(":")
        raise ValueError(
            f"{name!r} in {source} is of type {type(family).__name__}, not an instance of "
            "meta_train.TaskFamily. Name an instance, e.g. family = MyFamily()."
        )
    return family


def load_reference_to(reference: str, what: str) -> Any:
    """What `file.py:name` or `package.module:name` names.

    A file is executed each time; what it raises is passed on.

    Args:
        reference: Where it is.
        what: What it is, for the error message.

    Raises:
        ValueError: If there is no such file, module or name.
    """
    source, _, name = reference.rpartition(":")
    if not source or not name:
        raise ValueError(
            f"{what} {reference!r} lacks a name. Write file.py:family or package.module:family."
        )
    module = _import_file(Path(source)) if source.endswith(".py") else _import_module(source)
    if not hasattr(module, name):
        raise ValueError(f"{source} has no {name!r}. Define it there, e.g. {name} = MyFamily().")
    return getattr(module, name)


def _import_module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFound as error:
        raise ValueError(f"cannot import {name!r}: {error}. Give a file.py or a module.") from error


def _import_file(path: Path) -> ModuleType:
    name = str(path.resolve())  # cannot hide a module of another name
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(
            f"there is no Python file '{path}'. Give the path of the file of the family."
        )
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)  # for the modules beside it, which hide no others
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
