"""The user's own tasks to compare on: draws of a family, or a list."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from ...tasks import Task, TaskFamily
from ...training import load_reference_to
from ._problem import Problem
from ._task import EvaluationTask, as_problem

_Listed = Task | EvaluationTask | Sequence[Task | EvaluationTask]
Tasks = TaskFamily | _Listed

NUM_DRAWS = 8
NUM_STEPS = 500
_SEEDS = 2**41  # those of meta-training and of meta-validation are below


def evaluation_tasks(
    tasks: Tasks, *, name: str = "task", draws: int = NUM_DRAWS, num_steps: int | None = None
) -> list[EvaluationTask]:
    """Tasks to compare on, from what meta-training knows.

    Args:
        tasks: A family, of which tasks are drawn from fixed seeds that meta-training never draws
            from; or tasks, of which each is taken.
        name: What reports call them, with a number; an `EvaluationTask` keeps its name.
        draws: Tasks drawn of a family.
        num_steps: Steps of a run; without, an `EvaluationTask` keeps its own, others get 500.

    Raises:
        ValueError: If there are no tasks, or `draws` or `num_steps` is not positive.
        TypeError: If there is something else among them.
    """
    return _listed(_Held(tasks), name, draws, num_steps)


def load_tasks(
    reference: str, *, draws: int = NUM_DRAWS, num_steps: int | None = None
) -> list[EvaluationTask]:
    """The same by `file.py:name` or `package.module:name`; other processes load it again.

    Raises:
        ValueError: Also if there is no such file, module or name.
        TypeError: If it is neither a family nor tasks.
    """
    source, _, name = reference.rpartition(":")
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest() if _is_file(source) else ""
    return _listed(_Loaded(reference, digest), name, draws, num_steps)


@dataclass(frozen=True, eq=False)
class _Held:
    """What is in memory."""

    tasks: Tasks

    def __call__(self) -> Tasks:
        return self.tasks


@dataclass(frozen=True)
class _Loaded:
    """What a reference names; `digest` is that of the file, if it is one."""

    reference: str
    digest: str

    def __call__(self) -> Tasks:
        return _load(self)


@dataclass(frozen=True)
class _One:
    """Finds one task, in whatever process."""

    source: Callable[[], Tasks]
    index: int

    def __call__(self) -> Task:
        found = self.find()
        if isinstance(found, Task):
            return found
        assert found.task is not None
        return found.task()

    def find(self) -> Task | EvaluationTask:
        """The task as it was given."""
        return _find(self)


@dataclass(frozen=True)
class _Posed:
    """Poses the problem of one task."""

    one: _One

    def __call__(self, generator: torch.Generator) -> Problem:
        found = self.one.find()
        if isinstance(found, EvaluationTask):
            return found.problem(generator)
        return as_problem(found, generator)


@lru_cache(maxsize=8)
def _load(source: _Loaded) -> Tasks:
    tasks: Tasks = load_reference_to(source.reference, "tasks")
    return tasks


@lru_cache(maxsize=32)
def _find(one: _One) -> Task | EvaluationTask:
    tasks = one.source()
    if isinstance(tasks, TaskFamily):
        return tasks.sample(torch.Generator().manual_seed(_SEEDS + one.index))
    return _as_list(tasks)[one.index]


def _as_list(tasks: _Listed) -> Sequence[Task | EvaluationTask]:
    return tasks if isinstance(tasks, Sequence) else [tasks]


def _listed(
    source: Callable[[], Tasks], name: str, draws: int, num_steps: int | None
) -> list[EvaluationTask]:
    if draws < 1 or (num_steps is not None and num_steps < 1):
        raise ValueError(f"draws ({draws}) and num_steps ({num_steps}) must be positive.")
    tasks = source()
    count = draws if isinstance(tasks, TaskFamily) else len(_as_list(tasks))
    if not count:
        raise ValueError(f"{name} is an empty list. Put tasks into it, or give a family.")
    return [_evaluation_task(_One(source, i), name, num_steps) for i in range(count)]


def _evaluation_task(one: _One, name: str, num_steps: int | None) -> EvaluationTask:
    found = one.find()
    if isinstance(found, Task):
        label, steps = f"{name}-{one.index}", num_steps or NUM_STEPS
        return EvaluationTask(name=label, problem=_Posed(one), num_steps=steps, task=one)
    if not isinstance(found, EvaluationTask):
        raise TypeError(
            f"{name} holds a {type(found).__name__}. Give a TaskFamily, or a list whose items are "
            "tasks: Task, such as ModuleTask, or EvaluationTask."
        )
    found = replace(found, num_steps=num_steps or found.num_steps)
    if isinstance(one.source, _Held):
        return found
    return replace(found, problem=_Posed(one), task=None if found.task is None else one)


def _is_file(source: str) -> bool:
    return source.endswith(".py") and Path(source).is_file()
