"""One hash of what runs and with which values, for caches that must notice when either changes."""

from __future__ import annotations

import hashlib
import inspect

from torch import nn

from ._code import code_of
from ._values import describe


def fingerprint(*values: object) -> str:
    """Hash of values and of the code that they can run, equal in every process.

    Args:
        values: Numbers, texts, tensors, functions, modules (without their weights), and containers
            and objects of these. Code is followed through the functions and classes that it names.
    """
    digest = hashlib.sha256(describe(values).encode())
    for text in code_of(*values):
        digest.update(text.encode())
    return digest.hexdigest()[:32]


def source_of(module: nn.Module) -> str:
    """Source of a module's class, or its name where there is no source file."""
    try:
        return inspect.getsource(type(module))
    except (OSError, TypeError):  # defined in an interactive session
        return type(module).__qualname__
