"""An evaluation as JSON, as Markdown and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..support import clean, versions
from ._measures import STEPS
from ._results import Aggregate, Comparison, Evaluation, Measured, TaskResult
from ._statistics import WINDOW


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but the curves; numbers that are not finite become None."""
    content = asdict(evaluation)
    for task in content["tasks"]:
        del task["curves"]
    return {"versions": versions(), "window": WINDOW, **clean(content)}


def to_markdown(evaluation: Evaluation) -> str:
    """One table and one summary line for each baseline."""
    parts = [f"Checkpoint `{evaluation.checkpoint}`, {evaluation.num_seeds} seeds."]
    for name, total in evaluation.aggregate.items():
        tasks = evaluation.tasks
        parts += [f"## Against {name}", _table(tasks, name), _summary(total), _details(tasks, name)]
        notes = [note for task in evaluation.tasks for note in _notes(task, name)]
        parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    return "\n\n".join(parts) + "\n"


_HEAD = (
    "task",
    "mean loss: ours",
    "baseline",
    "ratio",
    "final loss: ours",
    "baseline",
    "test score: ours",
    "baseline",
    "steps to baseline's final loss: ours",
    "itself",
    "speed-up",
    "wall-clock speed-up",
    "diverged: ours",
    "baseline",
)


def _table(tasks: Sequence[TaskResult], name: str) -> str:
    rows = [_HEAD, ("---",) * len(_HEAD), *(_row(task, task.baselines[name]) for task in tasks)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(task: TaskResult, baseline: Comparison) -> tuple[str, ...]:
    score = next((name for name in task.ours if name.startswith("test_")), None)
    steps = [step for step in baseline.steps if math.isfinite(step)]
    reached = f"{np.mean(steps):.0f} of {task.num_steps}" if steps else "never"
    partly = (
        f" ({len(steps)} of {len(baseline.steps)} seeds)"
        if 0 < len(steps) < len(baseline.steps)
        else ""
    )
    wall = baseline.wall_clock_speedup
    return (
        task.task,
        _spread(task.ours["mean_loss"]),
        _tuned(baseline.metrics["mean_loss"]),
        f"{baseline.ratios.get('mean_loss', math.nan):.2f}",
        _spread(task.ours["final_loss"]),
        _tuned(baseline.metrics["final_loss"]),
        _spread(task.ours[score]) if score else "",
        _spread(baseline.metrics[score]) if score else "",
        reached + partly,
        f"{np.mean(baseline.own_steps):.0f}",
        f"{baseline.speedup.mean:.2f} ± {baseline.speedup.std:.2f}",
        "" if wall is None else f"{wall:.2f}",
        f"{task.num_diverged} of {len(baseline.steps)}",
        f"{baseline.num_diverged} of {baseline.num_runs}",
    )


def _details(tasks: Sequence[TaskResult], name: str) -> str:
    """Losses on the way and milliseconds a step, each as ours / baseline."""
    head = ("task", *(f"loss at {k}" for k in STEPS), "ms a step")
    rows = [head, ("---",) * len(head)]
    for task in tasks:
        theirs, seconds = task.baselines[name].metrics, task.seconds_per_step
        losses = [
            f"{task.ours[key].mean:.4g} / {theirs[key].mean:.4g}" if key in theirs else ""
            for key in (f"loss_{k}" for k in STEPS)
        ]
        pair = [seconds.get("ours"), seconds.get(name)]
        rows.append((task.task, *losses, " / ".join(f"{1e3 * s:.2f}" for s in pair if s)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _summary(total: Aggregate) -> str:
    interval = ""
    if total.interval:
        interval = " (95% bootstrap interval {:.2f} to {:.2f})".format(*total.interval)
    return (
        f"Speed-up: interquartile mean {total.iqm:.2f}{interval}, median over tasks "
        f"{total.median:.2f}, worst task {total.worst:.2f}."
    )


def _notes(task: TaskResult, name: str) -> list[str]:
    rates = task.baselines[name].extended_rates
    if not rates:
        return []
    added = ", ".join(f"{rate:.2g}" for rate in rates)
    return [
        f"{task.task}: the best rate was at the end of the grid, which was extended by {added}."
    ]


def _spread(measured: Measured) -> str:
    return f"{measured.mean:.4g} ± {measured.std:.2g}"


def _tuned(measured: Measured) -> str:
    return f"{_spread(measured)} ({measured.rate:.2g}, {measured.schedule})"


def plot(tasks: Sequence[TaskResult], path: Path) -> None:
    """Writes the learning curves, one panel a task: mean over seeds, shaded from best to worst."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure = Figure(figsize=(5 * columns, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, task in zip(panels, tasks, strict=False):
        for name, losses in task.curves.items():
            draw_curve(panel, name, losses, emphasis=name == "ours")
        panel.set_title(task.task, fontsize=10)
    for panel in list(figure.axes)[len(tasks) :]:
        panel.set_visible(False)
    figure.axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def draw_curve(panel: Any, name: str, losses: np.ndarray, *, emphasis: bool) -> None:
    """One optimizer's smoothed losses `(steps, seeds)` on a logarithmic axis."""
    finite = np.where(np.isfinite(losses) & (losses > 0), losses, np.nan)
    if np.isnan(finite).all():
        return
    steps = np.arange(len(losses)) + WINDOW
    style = {"color": "tab:red", "linewidth": 2.0, "zorder": 3} if emphasis else {}
    (line,) = panel.plot(steps, np.ma.masked_invalid(finite).mean(axis=1), label=name, **style)
    low, high = finite.min(axis=1), finite.max(axis=1)
    panel.fill_between(steps, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    panel.set_yscale("log")
    panel.set_xlabel("step")
    panel.set_ylabel(f"training loss (mean of {WINDOW})")
