"""Functions of users by `module:function`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load_reference(reference: str, what: str) -> Callable[..., Any]:
    """The function behind `module:function`, found as Python does, the working directory included.

    Args:
        reference: Where it is.
        what: What it is, for the error message.

    Raises:
        ValueError: If it cannot be loaded.
    """
    module, _, attribute = reference.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{what} {reference!r} cannot be loaded ({error}). Give module:function, with a module "
            "that can be imported from here."
        ) from error
    finally:
        sys.path.remove(str(Path.cwd()))
