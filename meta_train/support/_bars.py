"""Progress bars in a terminal; a line now and then where there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console

LINE_EVERY = 30.0  # seconds


@contextmanager
def shown(
    bars: progress.Progress, line: Callable[[progress.Task], str]
) -> Iterator[progress.Progress]:
    """Shows bars while they move; without a terminal a line of each that moves, every 30 seconds.

    Args:
        bars: The bars, of a console on stderr.
        line: What there is to say of a bar.
    """
    if bars.disable or bars.console.is_terminal:
        with bars:
            yield bars
        return
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(LINE_EVERY):
            for task in bars.tasks:
                if task.started and not task.finished:
                    say(bars.console, line(task))

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield bars
    finally:
        ended.set()
        teller.join()


def say(console: Console, text: str) -> None:
    """Prints a line as it is, above the bars if there are any."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A time for people, of one or two units."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
