"""The one display of long work: its stages in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from ._duration import duration
from ._work import Stage, Work

LINE_EVERY = 30.0  # seconds
_ROWS = 8  # stages that are shown at once
_BEFORE = 2  # of them, those before the one that runs
_RATE = 4  # pictures a second


class Display:
    """Shows the work that it is told of, on stderr.

    In a terminal it is a picture that moves: every stage with what is done of all, what is running,
    the last figures, the time that all stages left take, and where files go. Elsewhere, or where
    `plain` asks for it, it is a line when a stage but the first begins, and every 30 seconds.

    Args:
        files: Where files go.
        plain: Whether lines are printed in a terminal, too.
        is_shown: Whether work is shown at all; what is said is.
        console: Where; stderr without.
    """

    def __init__(
        self,
        files: str = "",
        *,
        plain: bool = False,
        is_shown: bool = True,
        console: Console | None = None,
    ) -> None:
        self.files, self.is_shown = files, is_shown
        self.console = console or Console(stderr=True)
        self.work = Work()
        self._is_plain = plain or not self.console.is_terminal
        self._begun: set[str] = set()  # stages
        self._is_told = False  # where files go
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)
        self._live = Live(
            console=self.console, get_renderable=self.picture, refresh_per_second=_RATE
        )

    def __enter__(self) -> Display:
        if self.is_shown and self._is_plain:
            self._teller.start()
        elif self.is_shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._teller.is_alive():
            self._teller.join()
        if self._live.is_started:
            is_refused = kind is not None and issubclass(kind, Exception)
            self._live.transient = is_refused and len(self._begun) < 2
            self._live.stop()

    def __call__(self, work: Work) -> None:
        """Shows work; it may go on to change."""
        self.work = work
        if work.running and work.running not in self._begun:
            self._begun.add(work.running)
            if self.is_shown and self._is_plain and len(self._begun) > 1:
                self._line()

    def say(self, text: str) -> None:
        """Prints a line as it is, above the picture."""
        self.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def picture(self) -> RenderableType:
        """The state of the work, for a terminal of 80 columns or more."""
        work = self.work
        if not work.stages:
            return Text()
        return Group(_stages(work), _lines(work, self.files))

    def _tell(self) -> None:
        while not self._ended.wait(LINE_EVERY):
            if self.work.running:
                self._line()

    def _line(self) -> None:
        self.say(str(self.work))
        if self.files and not self._is_told:
            self._is_told = True
            self.say(f"files: {self.files}")


def _stages(work: Work) -> Table:
    """A row for every stage, or for those around the one that runs."""
    table = Table.grid(
        Column(no_wrap=True, overflow="ellipsis", max_width=30),
        Column(ratio=1),
        Column(no_wrap=True, justify="right"),
        padding=(0, 1),
        expand=True,
    )
    stages = work.needed()
    first = _first_shown([stage.name for stage in stages], work.running)
    if first:
        table.add_row(Text(f"{first} stages before", style="dim"))
    for stage in stages[first : first + _ROWS]:
        table.add_row(_name(stage, work.running), _bar(stage), stage.count)
    rest = len(stages) - first - _ROWS
    if rest > 0:
        table.add_row(Text(f"{rest} stages after", style="dim"))
    return table


def _first_shown(names: list[str], running: str) -> int:
    at = names.index(running) if running in names else 0
    return max(0, min(at - _BEFORE, len(names) - _ROWS))


def _name(stage: Stage, running: str) -> Text:
    is_over = stage.total is not None and stage.share == 1.0
    style = "green" if is_over else "bold" if stage.name == running else "dim"
    return Text(stage.name, style=style)


def _bar(stage: Stage) -> ProgressBar:
    return ProgressBar(total=1.0, completed=stage.share)


def _lines(work: Work, files: str) -> Table:
    """What is running, the last figures, where files go, and the time left."""
    table = Table.grid(Column(style="dim", no_wrap=True), Column(ratio=1), padding=(0, 1))
    spent = duration(work.seconds)
    told = [("now", work.now), ("last", work.last), ("time", f"{work.time_left()}, {spent} so far")]
    if all(stage.share == 1.0 for stage in work.needed()):
        told = [("time", spent)]
    for label, text in told:
        if text:
            table.add_row(label, Text(text, no_wrap=True, overflow="ellipsis"))
    if files:
        table.add_row("files", Text(files, overflow="fold"))
    return table
