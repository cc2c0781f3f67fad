"""Compares a learned rule with what people would pick instead, as docs/evaluation.md says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from nfn_optim import UpdateRule

from ..support import Observer, Work
from .contenders import (
    TUNED,
    UNTUNED,
    Contender,
    learned,
    require_packages,
    with_references,
)
from .field import EvaluationTask, Tasks, evaluation_tasks
from .report import Evaluation, Group, Row, TaskInfo, end_of, measure
from .sweep import (
    LOOKING,
    MORE_SEEDS,
    TRAINING,
    WIDER,
    Entry,
    Session,
    Starts,
    look_at_all,
    peak_bytes,
    seconds_per_step,
)

PEERS = (*TUNED, *UNTUNED)
EXTENSIONS = 2

_COSTS = "what a step costs"
_STEPS_OF_COSTS = 30  # of every contender, about


def evaluate(
    checkpoint: UpdateRule | str | Path | Contender,
    tasks: Tasks,
    *,
    peers: Sequence[Contender] = PEERS,
    num_seeds: int = 2,
    told: bool = False,
    costs: bool = True,
    extensions: int = EXTENSIONS,
    cache: Path | None = None,
    processes: int = 1,
    on_progress: Observer = lambda work: None,
) -> Evaluation:
    """Compares a learned rule, one without learning and the default with peers.

    Main arguments:
        checkpoint: A rule, what `load_rule` takes, or a contender.
        tasks: What to train: a family, of which some tasks are drawn, or tasks, as
            `evaluation_tasks` takes them.
        peers: What to compare with: those with a grid are tuned for every task.

    Other arguments:
        num_seeds: Networks trained with the settings that tuning finds.
        told: Whether the learned rule is told the number of steps.
        costs: Whether to measure seconds and memory of a step.
        extensions: How often a grid may grow where its best rate is an end.
        cache: Folder that keeps finished runs; without one they are computed every time.
        processes: Runs at the same time, each on one thread.
        on_progress: Told of all work as it goes on: what is running, what is done of all, the last
            figures, the time that is left. `print` shows it.

    Raises:
        ValueError: If there are no tasks or no seeds, two contenders have one name, a package is
            missing, or a problem cannot be trained; all before the first run.
    """
    if not isinstance(checkpoint, Contender):
        checkpoint = learned(checkpoint, told=told)
    judged = with_references(checkpoint)
    contenders = (*judged, *peers)
    _check(tasks, contenders, num_seeds, processes)
    chosen = evaluation_tasks(tasks)
    seeds = tuple(range(num_seeds))
    work = Work(on_progress)
    for stage in (LOOKING, TRAINING, WIDER, MORE_SEEDS, *((_COSTS,) if costs else ())):
        work.plan(stage)
    starts = look_at_all(chosen, seeds, processes, work)
    if costs:
        seconds = fmean(starts[task.name, 0].seconds for task in chosen)
        steps = _STEPS_OF_COSTS * len(contenders)
        work.plan(_COSTS, len(chosen), seconds=seconds * steps)
    session = Session(starts, seeds, extensions, cache, processes, work)
    entries = session.run(chosen, contenders)
    rows: list[Row] = []
    for done, task in enumerate(chosen, 1):
        own = [entry for entry in entries if entry.task is task]
        if costs:
            work.begin(_COSTS, task.name)
        rows += _rows(task, own, len(judged), costs)
        if costs:
            work.tell(_COSTS, done)
    infos = (TaskInfo(t.name, t.num_steps, _num_weights(starts, t)) for t in chosen)
    return Evaluation(tuple(infos), seeds, tuple(rows))


def _rows(
    task: EvaluationTask, entries: Sequence[Entry], num_judged: int, costs: bool
) -> list[Row]:
    """One a contender; the first ones are judged, and the others are their peers."""
    contenders = [entry.contender for entry in entries]
    seconds = seconds_per_step(task, contenders) if costs else {}
    targets = {e.contender.name: end_of(e) for e in entries[num_judged:]}
    rows = []
    for index, entry in enumerate(entries):
        peer: Group = "tuned" if entry.contender.is_tuned else "untuned"
        group: Group = "judged" if index < num_judged else peer
        time = seconds.get(entry.contender.name)
        peak = peak_bytes(task, entry.contender) if costs else None
        rows.append(measure(entry, group, targets, time, peak))
    return rows


def _num_weights(starts: Starts, task: EvaluationTask) -> int:
    return starts[task.name, 0].num_weights


def _check(
    tasks: Tasks,
    contenders: Sequence[Contender],
    num_seeds: int,
    processes: int,
) -> None:
    if (isinstance(tasks, Sequence) and not tasks) or num_seeds < 1:
        raise ValueError("evaluate needs at least one task and one seed. Give them.")
    if processes < 1:
        raise ValueError(f"processes must be at least 1; got {processes}.")
    names = [contender.name for contender in contenders]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"contenders {', '.join(twice)} are given twice. Give other names.")
    for contender in contenders:
        require_packages(contender)
