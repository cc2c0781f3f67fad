"""A piece of work for one process, and many of them at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ...support import keep_traceback, on_signals
from ..contenders import Contender, Setting
from ..field import EvaluationTask
from ._cache import RunCache
from ._run import Run, one_thread, train
from ._stacked import run_sweep

Key = tuple[Setting, int]

_Result = TypeVar("_Result")


def is_stacked(task: EvaluationTask, contender: Contender) -> bool:
    """Whether all settings and seeds train as one stack of networks."""
    return task.task is not None and contender.make_rule is not None


@dataclass(frozen=True)
class Job:
    """Runs of a contender on a task: one network, or all of one stack.

    Attributes:
        task: What is trained.
        contender: By whom.
        keys: Settings and seeds; of a stack, every setting from every seed.
        files: Where the cache keeps each run.
    """

    task: EvaluationTask
    contender: Contender
    keys: tuple[Key, ...]
    files: tuple[str, ...]

    def kept(self, cache: RunCache) -> list[Run] | None:
        """The runs, if the cache has all of them."""
        found = [cache.find(file) for file in self.files]
        runs = [run for run in found if run is not None]
        return runs if len(runs) == len(found) else None

    def run(self, cache: RunCache) -> list[Run]:
        """Trains, and keeps what it finished."""
        runs = self._stacked() if is_stacked(self.task, self.contender) else self._single()
        for file, run in zip(self.files, runs, strict=True):
            cache.keep(file, run)
        return runs

    def _single(self) -> list[Run]:
        return [train(self.task, self.contender, *key) for key in self.keys]

    def _stacked(self) -> list[Run]:
        assert self.task.task is not None
        seeds = sorted({seed for _, seed in self.keys})
        return run_sweep(self.task.task(), self.contender, seeds, self.task.num_steps).runs()


def in_processes(
    function: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]], processes: int
) -> Iterator[tuple[int, _Result]]:
    """Results with the index of their arguments, as they are finished; one thread a call."""
    from joblib import Parallel, delayed

    work = _uninterrupted if processes > 1 else _on_one_thread
    calls = (delayed(work)(function, index, given) for index, given in enumerate(arguments))
    parallel = Parallel(n_jobs=processes, return_as="generator_unordered", max_nbytes=None)
    with on_signals((signal.SIGINT,), signal.SIG_IGN):  # processes inherit this while they start
        running = parallel(calls)
    yield from running


def _on_one_thread(
    function: Callable[..., _Result], index: int, arguments: tuple[Any, ...]
) -> tuple[int, _Result]:
    with one_thread():
        try:
            return index, function(*arguments)
        except Exception as error:
            keep_traceback(error)
            raise


def _uninterrupted(
    function: Callable[..., _Result], index: int, arguments: tuple[Any, ...]
) -> tuple[int, _Result]:
    """In a process of its own: Ctrl-C reaches all of them, and the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return _on_one_thread(function, index, arguments)
