"""Trains every contender on every task: first all settings of a grid, then what tuning asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ...support import Work
from ..contenders import Contender
from ..field import EvaluationTask
from ._best import best_settings
from ._cache import RunCache, file_name
from ._job import Job, Key, in_processes, is_stacked
from ._run import Run
from ._start import Start, look_at
from ._tally import Tally

LOOKING, TRAINING = "looking at the tasks", "training"
WIDER, MORE_SEEDS = "wider grids", "more seeds"
"""Stages of a comparison."""

_WIDER = 1 / 3  # of the grids grow, as far as can be known beforehand
_BESTS = 1.5  # settings of a grid that run from all seeds, likewise

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
    work: Work,
) -> Starts:
    """Where every task starts from every seed.

    Raises:
        ValueError: If a problem cannot be trained.
    """
    pairs = [(task, seed) for task in tasks for seed in seeds]
    starts: dict[tuple[str, int], Start] = {}
    work.plan(LOOKING, len(pairs))
    work.begin(LOOKING)
    for index, start in in_processes(look_at, pairs, processes):
        task, seed = pairs[index]
        starts[task.name, seed] = start
        work.tell(LOOKING, len(starts))
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
        work: Told of all stages, in seconds of one process.
    """

    starts: Starts
    seeds: Sequence[int]
    extensions: int
    cache: Path | None
    processes: int
    work: Work

    def run(self, tasks: Sequence[EvaluationTask], contenders: Sequence[Contender]) -> list[Entry]:
        """Every contender on every task, tuned."""
        entries = [Entry(task, prescribed(c, task)) for task in tasks for c in contenders]
        self._plan(entries)
        grids = [self._grid(e.task, e.contender) for e in entries]
        entries = self._train(TRAINING, entries, grids)
        for later in reversed(range(self.extensions)):
            wider = [_widened(entry) for entry in entries]
            keys = [self._grid(e.task, replace(e.contender, rates=rates)) for e, rates in wider]
            entries = self._train(WIDER, [entry for entry, _ in wider], keys, later=later)
        others = [self._best_from_other_seeds(entry) for entry in entries]
        return self._train(MORE_SEEDS, entries, others)

    def _plan(self, entries: Sequence[Entry]) -> None:
        """Says how long every stage takes, as far as can be known before the first run."""
        costs = dict.fromkeys((TRAINING, WIDER, MORE_SEEDS), 0.0)
        for entry in entries:
            task, contender = entry.task, entry.contender
            costs[TRAINING] += self._cost(task, self._grid(task, contender))
            if contender.is_tuned and not task.rates and self.extensions:
                more = self._grid(task, replace(contender, rates=contender.rates[:2]))
                costs[WIDER] += _WIDER * self._cost(task, more)
            if not is_stacked(task, contender):
                bests = _BESTS if contender.is_tuned else 1.0
                costs[MORE_SEEDS] += bests * self._cost(task, self.seeds[1:])
        for stage, cost in costs.items():
            self.work.plan(stage, cost, seconds=1 / self.processes)

    def _grid(self, task: EvaluationTask, contender: Contender) -> list[Key]:
        """Every setting from the first seed; of a stack, from all."""
        seeds = self.seeds if is_stacked(task, contender) else self.seeds[:1]
        return [(setting, seed) for setting in contender.settings for seed in seeds]

    def _best_from_other_seeds(self, entry: Entry) -> list[Key]:
        had = {(run.setting, run.seed) for run in entry.runs}
        keys = [(setting, seed) for setting in best_settings(entry.runs) for seed in self.seeds]
        return [key for key in keys if key not in had]

    def _train(
        self, stage: str, entries: list[Entry], keys: Sequence[list[Key]], later: float = 0.0
    ) -> list[Entry]:
        """The entries with further runs, read from the cache or trained.

        Args:
            stage: What of the work this is.
            entries: Who trains.
            keys: Settings and seeds of each.
            later: How much of the stage is still to come after these, as a multiple of them.
        """
        cache, found = RunCache(self.cache), [list(entry.runs) for entry in entries]
        waiting: dict[int, tuple[int, Job]] = {}
        tally = Tally(self.work, stage)
        for index, (entry, wanted) in enumerate(zip(entries, keys, strict=True)):
            for job in self._jobs(entry, wanted):
                kept = job.kept(cache)
                if kept is None:
                    waiting[len(waiting)] = index, job
                else:
                    found[index] += kept
                tally.add(job, self._cost(job.task, job.keys), is_kept=kept is not None)
        tally.begin(later, self._next(waiting))
        calls = [(job, cache) for _, job in waiting.values()]
        for number, runs in in_processes(Job.run, calls, self.processes):
            index, job = waiting.pop(number)
            found[index] += runs
            tally.did(job, self._cost(job.task, job.keys), runs, self._next(waiting))
        if not later:
            self.work.end(stage)
        return [replace(e, runs=tuple(runs)) for e, runs in zip(entries, found, strict=True)]

    def _next(self, waiting: Mapping[int, tuple[int, Job]]) -> str:
        """What is running: jobs start in order."""
        jobs = [job for _, job in islice(waiting.values(), self.processes)]
        return ", ".join(f"{job.task.name} by {job.contender.name}" for job in jobs)

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

    def _cost(self, task: EvaluationTask, keys: Sequence[object]) -> float:
        """Seconds of one process that runs take, without those of the optimizer."""
        return self.starts[task.name, self.seeds[0]].seconds * task.num_steps * len(keys)


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
