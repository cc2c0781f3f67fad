"""Trains every contender on every task: first all settings of a grid, then what tuning asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..contenders import Contender
from ..field import EvaluationTask
from ._best import best_settings
from ._cache import RunCache, file_name
from ._job import Job, Key, in_processes, is_stacked
from ._run import Run
from ._start import Start, look_at

OnProgress = Callable[[str, float, float], None]
Starts = Mapping[tuple[str, int], Start]


@dataclass(frozen=True)
class Entry:
    """A contender on a task.

    Attributes:
        task: What is trained.
        contender: By whom; its grid as it was in the end.
        runs: All of them.
        added: Learning rates added because the best one was at an end of the grid.
    """

    task: EvaluationTask
    contender: Contender
    runs: tuple[Run, ...] = ()
    added: tuple[float, ...] = ()


def look_at_all(
    tasks: Sequence[EvaluationTask],
    seeds: Sequence[int],
    processes: int,
    on_progress: OnProgress,
) -> Starts:
    """Where every task starts from every seed.

    Raises:
        ValueError: If a problem cannot be trained.
    """
    pairs = [(task, seed) for task in tasks for seed in seeds]
    starts: dict[tuple[str, int], Start] = {}
    for index, start in in_processes(look_at, pairs, processes):
        task, seed = pairs[index]
        starts[task.name, seed] = start
        on_progress("looking at the tasks", len(starts), len(pairs))
    return starts


@dataclass
class Session:
    """The runs of a comparison.

    Attributes:
        starts: Where every task starts from every seed.
        seeds: From where. Tuning looks at the first; the settings it finds run from all.
        extensions: How often a grid may grow where its end is best.
        cache: Folder that keeps finished runs; None keeps none.
        processes: Runs at the same time, each on one thread.
        on_progress: Told what is running, how much work is done, and how much there is.
    """

    starts: Starts
    seeds: Sequence[int]
    extensions: int
    cache: Path | None
    processes: int
    on_progress: OnProgress
    _total: float = 0.0
    _done: float = 0.0

    def run(self, tasks: Sequence[EvaluationTask], contenders: Sequence[Contender]) -> list[Entry]:
        """Every contender on every task, tuned."""
        entries = [Entry(task, prescribed(c, task)) for task in tasks for c in contenders]
        entries = self._train(entries, [self._grid(e.task, e.contender) for e in entries])
        for _ in range(self.extensions):
            wider = [_widened(entry) for entry in entries]
            keys = [self._grid(e.task, replace(e.contender, rates=rates)) for e, rates in wider]
            entries = self._train([entry for entry, _ in wider], keys)
        return self._train(entries, [self._best_from_other_seeds(entry) for entry in entries])

    def _grid(self, task: EvaluationTask, contender: Contender) -> list[Key]:
        """Every setting from the first seed; of a stack, from all."""
        seeds = self.seeds if is_stacked(task, contender) else self.seeds[:1]
        return [(setting, seed) for setting in contender.settings for seed in seeds]

    def _best_from_other_seeds(self, entry: Entry) -> list[Key]:
        had = {(run.setting, run.seed) for run in entry.runs}
        keys = [(setting, seed) for setting in best_settings(entry.runs) for seed in self.seeds]
        return [key for key in keys if key not in had]

    def _train(self, entries: list[Entry], keys: Sequence[list[Key]]) -> list[Entry]:
        """The entries with further runs, read from the cache or trained."""
        cache, found = RunCache(self.cache), [list(entry.runs) for entry in entries]
        waiting: list[tuple[int, Job]] = []
        for index, (entry, wanted) in enumerate(zip(entries, keys, strict=True)):
            for job in self._jobs(entry, wanted):
                self._total += self._cost(job)
                kept = job.kept(cache)
                if kept is None:
                    waiting.append((index, job))
                else:
                    found[index] += kept
                    self._done += self._cost(job)
        calls = [(job, cache) for _, job in waiting]
        for number, runs in in_processes(Job.run, calls, self.processes):
            index, job = waiting[number]
            found[index] += runs
            self._done += self._cost(job)
            self.on_progress(f"{job.task.name}: {job.contender.name}", self._done, self._total)
        return [replace(e, runs=tuple(runs)) for e, runs in zip(entries, found, strict=True)]

    def _jobs(self, entry: Entry, keys: list[Key]) -> list[Job]:
        task, contender = entry.task, entry.contender
        whole = is_stacked(task, contender) and len(keys) > 0
        groups = [keys] if whole else [[key] for key in keys]
        return [
            Job(task, _at(contender, group), tuple(group), self._files(task, contender, group))
            for group in groups
        ]

    def _files(
        self, task: EvaluationTask, contender: Contender, keys: list[Key]
    ) -> tuple[str, ...]:
        return tuple(
            file_name(task, self.starts[task.name, seed].fingerprint, contender, setting, seed)
            for setting, seed in keys
        )

    def _cost(self, job: Job) -> float:
        start = self.starts[job.task.name, self.seeds[0]]
        return start.seconds * job.task.num_steps * len(job.keys)


def prescribed(contender: Contender, task: EvaluationTask) -> Contender:
    """The contender on the grid that the task's protocol prescribes, where it is tuned at all."""
    if not contender.is_tuned:
        return contender
    return replace(
        contender,
        rates=task.rates or contender.rates,
        schedules=task.schedules or contender.schedules,
    )


def _at(contender: Contender, keys: list[Key]) -> Contender:
    """The contender with the rates of these keys only."""
    return replace(contender, rates=tuple(sorted({setting.rate for setting, _ in keys})))


def _widened(entry: Entry) -> tuple[Entry, tuple[float, ...]]:
    """The entry with more rates in its grid where the best one is an end, and these rates."""
    if entry.task.rates or not entry.contender.is_tuned:
        return entry, ()
    ends = [entry.contender.beyond(s.rate) for s in best_settings(entry.runs)]
    more = tuple(sorted({rate for end in ends if end for rate in end.rates}))
    rates = tuple(sorted((*entry.contender.rates, *more)))
    wider = replace(entry.contender, rates=rates)
    return replace(entry, contender=wider, added=entry.added + more), more
