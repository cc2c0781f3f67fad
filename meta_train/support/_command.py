"""The command that runs, as one would type it again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_GIVEN: ContextVar[tuple[str, ...] | None] = ContextVar("given", default=None)


@contextmanager
def running(arguments: Sequence[str]) -> Iterator[None]:
    """Says for a while what the command was given."""
    token = _GIVEN.set(tuple(arguments))
    try:
        yield
    finally:
        _GIVEN.reset(token)


def command(*more: str, without: Sequence[str] = ()) -> str:
    """The command line, quoted for a shell, with more options after its first word."""
    given = _GIVEN.get()
    arguments = list(sys.argv[1:] if given is None else given)
    rest = [each for each in arguments[1:] if each not in (*without, *more)]
    return shlex.join(["nfn-optim", *arguments[:1], *more, *rest])
