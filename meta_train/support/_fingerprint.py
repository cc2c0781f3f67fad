"""One hash of what runs and with which values, for caches that must notice when either changes."""

from __future__ import annotations

import hashlib

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
