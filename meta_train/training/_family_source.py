"""Families of tasks named on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from ..tasks import TaskFamily

DEFAULT_TASKS = "meta_train.tasks:default_family"


def load_family(tasks: str) -> TaskFamily:
    """Imports a family named `file.py:name` or `package.module:name`.

    Raises:
        ValueError: If there is no such file, module or name, or it is no `TaskFamily`.
    """
    source, _, name = tasks.rpartition(":")
    if not source or not name:
        raise ValueError(
            f"tasks {tasks!r} lacks a name. Write file.py:family or package.module:family."
        )
    family = getattr(_load(source), name, None)
    if not isinstance(family, TaskFamily):
        raise ValueError(
            f"{name!r} in {source} is {type(family).__name__}, not an instance of "
            "meta_train.tasks.TaskFamily. Define one there, e.g. family = MyFamily()."
        )
    return family


def _load(source: str) -> ModuleType:
    if not source.endswith(".py"):
        try:
            return importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"cannot import {source!r}: {error}. Give a file.py or a module."
            ) from error
    path = Path(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(
            f"there is no Python file {source!r}. Give the path of the file of the family."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
