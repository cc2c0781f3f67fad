"""The end of `nfn-optim train`: a short comparison on held-out tasks, and whether it helped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

from rich.table import Table

from ..evaluation import Evaluation, evaluate, evaluation_tasks, loss_ratio
from ..evaluation.contenders import ADAMW, SHIPPED, UNTRAINED, learned
from ..support import Display, Work
from ..training import MetaTrainer, RunConfig
from ._console import figures, print_table, prose

_TASKS, _STEPS = (2, 8), (100, 200)  # fewest and most, so that training takes longer than this
_OUTER_STEPS = 50  # of training, for one more task
_RATES = (1e-3, 3e-3, 1e-2)
_STACKS = 3  # of networks that train at once
_TIE = 0.02  # end losses closer than this count as equal
CANDIDATE = "candidate"
STAGE = "did it help?"


def inner_steps(config: RunConfig) -> int:
    """Steps of all stacks of networks that `compare` trains, about."""
    draws, steps = _size(config)
    return draws * steps * _STACKS


def compare(trainer: MetaTrainer, display: Display) -> Evaluation:
    """Trains networks of a few held-out tasks, the last stage of the work that is shown.

    Beside the rule that was trained are the rule that has learned nothing, the default where it has
    learned something, and AdamW at the best of three rates.
    """
    draws, steps = _size(trainer.config)
    family, work = trainer.validation.family, display.work
    tasks = evaluation_tasks(family, name="held-out", draws=draws, num_steps=steps)
    candidate = replace(learned(trainer.result()), name=CANDIDATE)
    adamw = replace(ADAMW, rates=_RATES, schedules=("constant",))
    work.begin(STAGE)

    def on_progress(inner: Work) -> None:
        share, last = inner.share, inner.last or work.last
        work.tell(STAGE, share, counted=f"{share:.0%}", now=inner.now, last=last)

    found = evaluate(
        candidate,
        tasks,
        peers=[adamw],
        num_seeds=1,
        costs=False,
        extensions=0,
        on_progress=on_progress,
    )
    work.end(STAGE)
    return found


def print_verdict(found: Evaluation, trainer: MetaTrainer, out: Path) -> None:
    """Prints how the networks end, and what that says.

    Args:
        found: What `compare` found.
        trainer: The run, which has ended.
        out: Its file, for what can be done next.
    """
    print_table(_table(found))
    prose(verdict(found))
    if SHIPPED in found.names("judged"):
        prose(beside_default(found))
    if trainer.best is not None and trainer.reference is not None:
        prose(_validated(trainer.reference, *trainer.best))
    tasks = trainer.labels.get("validation_family", "FILE.py:NAME")
    prose(f"More tasks, steps and peers:\n  nfn-optim evaluate --checkpoint {out} --tasks {tasks}")


def _size(config: RunConfig) -> tuple[int, int]:
    """How many tasks are trained, and for how many steps."""
    steps = min(config.validation.steps, _between(config.outer_steps, _STEPS))
    return _between(config.outer_steps // _OUTER_STEPS, _TASKS), steps


def _table(found: Evaluation) -> Table:
    """End losses, one row a task, and their medians over the untrained rule's."""
    names = found.names("judged", "tuned")
    steps = found.tasks[0].num_steps
    title = f"End losses of held-out tasks ({steps} steps, one seed)"
    table = figures(title, "task", *names)
    for task in found.tasks:
        losses = [found.row(task.name, name).end_loss.mean for name in names]
        table.add_row(task.name, *(f"{loss:.4g}" for loss in losses))
    table.add_section()
    ratios = (median(_ratios(found, UNTRAINED, name)) for name in names)
    table.add_row(f"median, over {UNTRAINED}", *(f"{ratio:.2f}" for ratio in ratios))
    return table


def verdict(found: Evaluation) -> str:
    """Whether the candidate ends lower than the rule that has learned nothing."""
    ratios = _ratios(found, UNTRAINED, CANDIDATE)
    ratio, count = median(ratios), len(ratios)
    lower = sum(each < 1 for each in ratios)
    measured = (
        f"end losses are {ratio:.2f} times those of the untrained rule, lower on {lower} of "
        f"{count} tasks"
    )
    if ratio < 1 - _TIE and lower > count / 2:
        return f"It helped: {measured}."
    worse = "It made things worse" if ratio > 1 + _TIE else "It made no difference that shows"
    return (
        f"{worse}: {measured}. Without learning, NFNOptimizer(model, checkpoint='untrained') does "
        "as well here. Meta-train longer, start from other weights (--init small), or train on "
        "tasks that are more like those you hold out."
    )


def beside_default(found: Evaluation) -> str:
    """How the candidate ends beside what one gets without a checkpoint."""
    ratios = _ratios(found, SHIPPED, CANDIDATE)
    ratio, lower = median(ratios), sum(each < 1 for each in ratios)
    advice = " Without a checkpoint you do better here." if ratio > 1 + _TIE else ""
    return (
        f"Beside the default, NFNOptimizer(model), which is {SHIPPED} in the table: {ratio:.2f} "
        f"times its end losses, lower on {lower} of {len(ratios)} tasks.{advice}"
    )


def _validated(start: float, best: float, step: int) -> str:
    if step == 0:
        return f"Meta-validation: {start:.3f} at the start; no outer step was better."
    return f"Meta-validation: {start:.3f} at the start, {best:.3f} at best (outer step {step})."


def _between(value: int, limits: tuple[int, int]) -> int:
    return min(max(value, limits[0]), limits[1])


def _ratios(found: Evaluation, base: str, name: str) -> list[float]:
    """End losses over those of `base`, one a task; infinite where a run failed."""
    return [loss_ratio(*rows) for rows in zip(found.of(name), found.of(base), strict=True)]
