"""The end of `nfn-optim train`: a short comparison on held-out tasks, and whether it helped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from ..evaluation import Evaluation, evaluate, evaluation_tasks, loss_ratio, to_json
from ..evaluation.contenders import ADAMW, UNTRAINED, learned
from ..training import MetaTrainer
from ._console import progress_bars

_TASKS, _STEPS = (2, 8), (100, 200)  # fewest and most, so that training takes longer than this
_OUTER_STEPS = 50  # of training, for one more task
_RATES = (1e-3, 3e-3, 1e-2)
_TIE = 0.02  # end losses closer than this count as equal
CANDIDATE = "candidate"


def print_verdict(trainer: MetaTrainer, out: Path) -> dict[str, Any]:
    """Trains networks of a few held-out tasks, and prints how they end and what that says.

    Beside the rule that was trained are the rule that has learned nothing, the default where it has
    learned something, and AdamW at the best of three rates.

    Args:
        trainer: The run, which has ended.
        out: Its file, for what can be done next.

    Returns:
        All numbers, as `nfn-optim evaluate --json` writes them.
    """
    found = _compare(trainer)
    Console().print(_table(found))
    print(verdict(found))
    if trainer.best is not None and trainer.reference is not None:
        print(_validated(trainer.reference, *trainer.best))
    tasks = trainer.labels.get("validation_family", "FILE.py:NAME")
    print(f"More tasks, steps and peers: nfn-optim evaluate --checkpoint {out} --tasks {tasks}")
    return to_json(found)


def _compare(trainer: MetaTrainer) -> Evaluation:
    config = trainer.config
    draws = _between(config.outer_steps // _OUTER_STEPS, _TASKS)
    steps = min(config.validation.steps, _between(config.outer_steps, _STEPS))
    family = trainer.validation.family
    tasks = evaluation_tasks(family, name="held-out", draws=draws, num_steps=steps)
    candidate = replace(learned(trainer.result()), name=CANDIDATE)
    adamw = replace(ADAMW, rates=_RATES, schedules=("constant",))
    with progress_bars() as bars:
        bar = bars.add_task("did it help?", total=None)
        return evaluate(
            candidate,
            tasks,
            peers=[adamw],
            num_seeds=1,
            costs=False,
            extensions=0,
            on_progress=lambda label, done, total: bars.update(bar, completed=done, total=total),
        )


def _table(found: Evaluation) -> Table:
    """End losses, one row a task, and their medians over the untrained rule's."""
    names = found.names("judged", "tuned")
    steps = found.tasks[0].num_steps
    title = f"End losses of held-out tasks ({steps} steps, one seed)"
    table = Table("task", *names, title=title)
    for task in found.tasks:
        losses = [found.row(task.name, name).end_loss.mean for name in names]
        table.add_row(task.name, *(f"{loss:.4g}" for loss in losses))
    table.add_section()
    ratios = (median(_ratios(found, name)) for name in names)
    table.add_row(f"median, over {UNTRAINED}", *(f"{ratio:.2f}" for ratio in ratios))
    return table


def verdict(found: Evaluation) -> str:
    """Whether the candidate ends lower than the rule that has learned nothing."""
    ratios = _ratios(found, CANDIDATE)
    ratio, count = median(ratios), len(ratios)
    lower = sum(each < 1 for each in ratios)
    figures = (
        f"end losses are {ratio:.2f} times those of the untrained rule, lower on {lower} of "
        f"{count} tasks"
    )
    if ratio < 1 - _TIE and lower > count / 2:
        return f"It helped: {figures}."
    worse = "It made things worse" if ratio > 1 + _TIE else "It made no difference that shows"
    return (
        f"{worse}: {figures}. Without learning, NFNOptimizer(model, checkpoint='untrained') does "
        "as well here. Meta-train longer, start from other weights (--init small), or train on "
        "tasks that are more like those you hold out."
    )


def _validated(start: float, best: float, step: int) -> str:
    if step == 0:
        return f"Meta-validation: {start:.3f} at the start; no outer step was better."
    return f"Meta-validation: {start:.3f} at the start, {best:.3f} at best (outer step {step})."


def _between(value: int, limits: tuple[int, int]) -> int:
    return min(max(value, limits[0]), limits[1])


def _ratios(found: Evaluation, name: str) -> list[float]:
    """End losses over those of the untrained rule, one a task; infinite where a run failed."""
    return [loss_ratio(*rows) for rows in zip(found.of(name), found.of(UNTRAINED), strict=True)]
