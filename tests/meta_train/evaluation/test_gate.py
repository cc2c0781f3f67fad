"""What is asked of a rule before it may become the default."""

import math
from collections.abc import Mapping, Sequence

from meta_train.evaluation import Curve, Evaluation, Measured, Row, TaskInfo, gate

STEPS = (10, 40, 70, 100)
FALLING = (4.0, 2.0, 1.5, 1.0)
NAMES = ("new", "none", "old")


def row(task: str, name: str, losses: Sequence[float], num_diverged: int = 0) -> Row:
    """A contender whose smoothed losses at `STEPS` are these."""
    curve = Curve(STEPS, *(tuple(losses),) * 3)
    end = Measured(losses[-1], 0.0, (losses[-1],), 1.0, "constant")
    return Row(
        task, name, "judged", end, end, {}, {}, None, None, num_diverged, 1, "", (), False, curve
    )


def conditions(*curves: Mapping[str, Sequence[float]], diverged: int = 0) -> list[bool]:
    """Whether each condition holds; a task's curves by contender, those left out are `FALLING`."""
    tasks = tuple(TaskInfo(f"task {i}", 100, 5) for i in range(len(curves)))
    rows = tuple(
        row(task.name, name, given.get(name, FALLING), diverged if name == "new" else 0)
        for task, given in zip(tasks, curves, strict=True)
        for name in NAMES
    )
    return [c.holds for c in gate(Evaluation(tasks, (0,), rows), *NAMES)]


def test_a_rule_that_is_faster_everywhere_may_be_shipped() -> None:
    faster = {"new": (3.0, 1.0, 0.8, 0.7)}
    assert all(conditions(faster, faster))


def test_a_rule_like_the_one_without_learning_may_not() -> None:
    assert conditions({}, {}) == [False, True, True, True, True, True]


def test_one_task_that_gets_much_worse_is_enough_to_refuse() -> None:
    faster, slower = {"new": (3.0, 1.0, 0.8, 0.7)}, {"new": (4.0, 3.0, 2.0, 1.2)}
    assert conditions(faster, faster, slower) == [True, False, True, False, True, True]


def test_a_rule_that_ends_above_the_shipped_one_may_not() -> None:
    beaten = {"new": (3.0, 1.0, 0.8, 0.7), "old": (3.0, 1.0, 0.6, 0.5)}
    assert conditions(beaten, beaten) == [True, True, True, True, False, True]


def test_a_rule_that_fails_more_often_may_not() -> None:
    faster = {"new": (3.0, 1.0, 0.8, 0.7)}
    assert conditions(faster, diverged=1) == [True, True, True, True, True, False]
    assert not conditions({"new": (math.nan,) * 4})[3]


def test_a_long_run_must_end_near_where_it_has_been_best() -> None:
    faster = {"new": (3.0, 1.0, 0.8, 0.7)}
    tasks = (TaskInfo("short", 100, 5), TaskInfo("long", 2_000, 5))

    def long_run(losses: Sequence[float]) -> Sequence[bool]:
        rows = [
            row(task.name, name, given)
            for task, at in zip(tasks, (faster, {"new": losses}), strict=True)
            for name, given in (dict.fromkeys(NAMES, FALLING) | at).items()
        ]
        evaluation = Evaluation(tasks, (0,), tuple(rows))
        return [c.holds for c in gate(evaluation, *NAMES, long=["long"])]

    refused = [True] * 5 + [False, True]
    assert all(long_run((9.0, 2.0, 1.0, 1.7)))  # slower than the others, which does not count
    assert long_run((9.0, 2.0, 1.0, 1.9)) == refused
    assert long_run((4.0, -1.0, -2.0, -1.3)) == refused
    assert all(long_run((4.0, -1.0, -2.0, -1.5)))
    assert long_run((4.0, 5.0, 6.0, 4.0)) == refused  # it never gained anything
    assert long_run((4.0, 0.1, 0.05, math.nan)) == refused


def test_the_first_checkpoint_has_no_one_before_it() -> None:
    tasks = (TaskInfo("a", 100, 5),)
    rows = tuple(row("a", name, FALLING) for name in NAMES[:2])
    found = gate(Evaluation(tasks, (0,), rows), "new", "none", None)
    assert not any("old" in condition.asked for condition in found)
    assert [condition.where for condition in found] == ["", "a", "", "a", ""]
