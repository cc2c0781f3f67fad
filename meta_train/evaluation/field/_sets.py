"""All tasks by name and by set."""

from __future__ import annotations

from collections.abc import Sequence

from ._field import DEV, FIELD, QUICK, TEST
from ._small_networks import DIGITS, HELD_OUT, YARDSTICK
from ._task import EvaluationTask

TASK_SETS = {
    "field": FIELD,
    "field-dev": DEV,
    "field-test": TEST,
    "field-quick": QUICK,
    "digits": DIGITS,
    "held-out": HELD_OUT,
    "yardstick": YARDSTICK,
}


def find_tasks(names: Sequence[str]) -> list[EvaluationTask]:
    """Tasks by the names of sets or of single tasks, each once, in the order asked for.

    Raises:
        ValueError: Naming what is unknown and what there is.
    """
    single = {task.name: (task,) for tasks in TASK_SETS.values() for task in tasks}
    groups = TASK_SETS | single
    unknown = [name for name in names if name not in groups]
    if unknown or not names:
        raise ValueError(
            f"there are no evaluation tasks {', '.join(map(repr, unknown)) or '(none given)'}. "
            f"Choose sets ({', '.join(TASK_SETS)}) or tasks ({', '.join(single)})."
        )
    return list({task.name: task for name in names for task in groups[name]}.values())
