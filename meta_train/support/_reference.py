"""Modules and functions of users by their names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def load_reference(reference: str, what: str) -> Callable[..., Any]:
    """The function behind `module:function`; what the module raises is passed on.

    Args:
        reference: Where it is.
        what: What it is, for the error message.

    Raises:
        ValueError: If there is no such module or function.
    """
    name, _, attribute = reference.partition(":")
    try:
        module = import_module(name)
        if attribute and hasattr(module, attribute):
            return getattr(module, attribute)
        reason = f"{name} has no {attribute!r}"
    except ModuleNotFound as error:
        reason = str(error)
    raise ValueError(
        f"{what} {reference!r} cannot be loaded ({reason}). Give module:function, with a module "
        "that can be imported from here."
    )


class ModuleNotFound(ValueError):
    """There is no module of this name."""


def import_module(name: str) -> ModuleType:
    """A module, found as Python does, the working directory included; what it raises is passed on.

    Raises:
        ModuleNotFound: If there is no such module.
    """
    if not name:
        raise ModuleNotFound("it has no name")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks another one
        raise ModuleNotFound(str(error)) from error
    finally:
        sys.path.remove(str(Path.cwd()))
