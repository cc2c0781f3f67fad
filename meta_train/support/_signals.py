"""Signals that ask a process to end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

ENDING: tuple[signal.Signals, ...] = (
    signal.SIGTERM,
    *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()),
)
"""What ends a process beside Ctrl-C: `kill`, a batch system, a terminal that is closed."""


class Interrupted(KeyboardInterrupt):
    """The process was asked to end.

    Attributes:
        signal: By which signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP raise `Interrupted`, so that what is open is closed as on Ctrl-C."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with on_signals(ENDING, handle):
        yield


@contextmanager
def on_signals(
    numbers: Sequence[signal.Signals],
    handle: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    """Handles signals for a while; outside of the main thread, which alone can, they are left.

    SIGHUP stays ignored where it is, as under nohup.
    """
    before = {}
    try:
        for number in numbers:
            if number not in ENDING or signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    except ValueError:  # outside of the main thread
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
