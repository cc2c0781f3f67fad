"""What code a module runs, for caches that must notice when it changes."""

from __future__ import annotations

import inspect

from torch import nn


def source_of(module: nn.Module) -> str:
    """Source of a module's class, or its name where there is no source file."""
    try:
        return inspect.getsource(type(module))
    except (OSError, TypeError):  # defined in an interactive session
        return type(module).__qualname__
