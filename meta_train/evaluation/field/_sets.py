"""All tasks by name and by set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ._field import DEMO, DEV, FIELD, LONG, QUICK, TEST
from ._own import NUM_DRAWS, load_tasks
from ._small_networks import DIGITS, HELD_OUT, YARDSTICK
from ._task import EvaluationTask

TASK_SETS = {
    "field": FIELD,
    "field-dev": DEV,
    "field-test": TEST,
    "field-quick": QUICK,
    "field-long": LONG,
    "demo": DEMO,
    "digits": DIGITS,
    "held-out": HELD_OUT,
    "yardstick": YARDSTICK,
}


def find_tasks(
    names: Sequence[str], *, draws: int = NUM_DRAWS, num_steps: int | None = None
) -> list[EvaluationTask]:
    """Tasks by the names of sets or of single tasks, each once, in the order asked for.

    A name with a colon is the user's, see `load_tasks`.

    Args:
        names: Of sets, of tasks, or `file.py:name`.
        draws: Tasks drawn of each family of the user's.
        num_steps: Steps of a run; without, each task's own.

    Raises:
        ValueError: Naming what is unknown and what there is.
    """
    single = {task.name: (task,) for tasks in TASK_SETS.values() for task in tasks}
    groups = TASK_SETS | single
    unknown = [name for name in names if name not in groups and ":" not in name]
    if unknown or not names:
        raise ValueError(
            f"there are no evaluation tasks {', '.join(map(repr, unknown)) or '(none given)'}. "
            f"Choose sets ({', '.join(TASK_SETS)}), tasks ({', '.join(single)}), or your own "
            "(file.py:name: a family, or a list of tasks)."
        )
    found = [task for name in names for task in groups.get(name, ())]
    if num_steps is not None:
        found = [replace(task, num_steps=num_steps) for task in found]
    for name in names:
        if name not in groups:
            found += load_tasks(name, draws=draws, num_steps=num_steps)
    return list({task.name: task for task in found}.values())
