"""What a suite tells of its work: the data, and the networks of every method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...support import Observer, Progress, Work
from ._suite import Outcome

_DATA, _METHODS = "data", "methods"


class SuiteProgress:
    """Tells of the data and of every method, whose units are its networks.

    Args:
        observe: Told of the work.
        metric: What is measured.
        num_seeds: Networks of every method.
    """

    def __init__(self, observe: Observer, metric: str, num_seeds: int) -> None:
        self.work, self.metric, self.num_seeds = Work(observe), metric, num_seeds
        self._parts: dict[str, tuple[int, int]] = {}  # of the data
        self.work.plan(_DATA)

    def plan(self, method: str, seconds: float | None) -> None:
        """A method will run; one of its networks takes so long, as far as is known."""
        self.work.plan(method, self.num_seeds, seconds=seconds, kind=_METHODS)

    @contextmanager
    def data(self) -> Iterator[None]:
        """The data is made."""
        self.work.begin(_DATA)
        yield
        self.work.end(_DATA)

    def on_data(self, label: str, done: int, total: int) -> None:
        """Of a part of the data so much is done; a part that is told of early counts early."""
        self._parts[label] = done, total
        of_all, all_ = (sum(column) for column in zip(*self._parts.values(), strict=True))
        self.work.plan(_DATA, all_)
        self.work.tell(_DATA, of_all, now=label)

    def run(self, method: str, seed: int, run: Callable[[Progress], Outcome]) -> Outcome:
        """Runs a method from a seed."""
        before = int(self.work.stages[method].done)
        started = False

        def on_progress(done: int, total: int) -> None:
            nonlocal started
            started = True
            reached = max(self.work.stages[method].done, before + done / total)
            now = f"{running}, {done:,} of {total:,}"
            self.work.tell(method, reached, counted=self._counted(reached), now=now)

        running = f"{method}, network {before + 1} of {self.num_seeds}"
        self.work.begin(method, running)
        outcome = run(on_progress)
        tell = self.work.tell if started else self.work.skip  # an outcome from the cache
        tell(method, before + 1)
        self.work.last = f"{method}, seed {seed}: {self.metric} {outcome.score:.4g}"
        return outcome

    def _counted(self, done: float) -> str:
        return f"{int(done):,} of {self.num_seeds:,}" if self.num_seeds > 1 else f"{done:.0%}"
