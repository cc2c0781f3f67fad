"""Signals that ask a process to end, and wait for a good moment."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..support import ENDING, on_signals


@contextmanager
def deferred_interruption() -> Iterator[Callable[[], int | None]]:
    """Puts off the first request to end: Ctrl-C, SIGTERM or SIGHUP. A second Ctrl-C ends at once.

    Where signals cannot be handled, outside of the main thread, they are left as they are.

    Yields:
        A function that gives the signal that has come, if one has.
    """
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    with on_signals((signal.SIGINT, *ENDING), handle):
        yield lambda: came[0] if came else None
