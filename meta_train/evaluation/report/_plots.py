"""An evaluation as pictures: learning curves, and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from ._over_tasks import FACTORS, profile
from ._results import Curve, Evaluation, Group

_JUDGED = ("tab:red", "tab:orange", "tab:pink")
_PEERS = ("tab:blue", "tab:green", "tab:purple", "tab:brown", "tab:cyan", "tab:olive", "tab:gray")


def plot_curves(evaluation: Evaluation, path: Path) -> None:
    """Writes the learning curves, one panel a task: mean over seeds, shaded from best to worst."""
    groups: tuple[Group, ...] = ("judged", "tuned", "untuned")
    shown = evaluation.names(*groups[: 3 if len(evaluation.tasks) == 1 else 2])
    styles = _styles(evaluation, shown)
    columns = min(4, len(evaluation.tasks))
    rows = math.ceil(len(evaluation.tasks) / columns)
    figure, panels = _figure(rows, columns, (7, 5) if columns == 1 else (3.6, 2.8))
    for panel, task in zip(panels, evaluation.tasks, strict=False):
        for name in shown:
            draw_curve(panel, name, evaluation.row(task.name, name).curve, styles[name])
        panel.set_title(task.name, fontsize=9)
        panel.tick_params(labelsize=7, which="both")
    for panel in panels[len(evaluation.tasks) :]:
        panel.set_visible(False)
    figure.supylabel("training loss (mean of a tenth of the run) against the step", fontsize=9)
    _legend(figure, panels, ncols=2 * columns + 2)
    _save(figure, path)


def plot_profiles(evaluation: Evaluation, path: Path) -> None:
    """Writes performance profiles: steps and seconds, beside tuned and beside untuned peers."""
    groups: list[Group] = [g for g in ("tuned", "untuned") if evaluation.names(g)]
    figure, panels = _figure(len(groups), 2, (5.4, 3.6))
    for number, panel in enumerate(panels):
        group, in_seconds = groups[number // 2], number % 2 == 1
        shares = profile(evaluation, group, in_seconds=in_seconds)
        styles = _styles(evaluation, list(shares))
        for name, share in shares.items():
            panel.step(FACTORS, share, label=name, where="post", **styles[name])
        panel.set_xscale("log", base=2)
        panel.set_ylim(-0.02, 1.02)
        unit = "seconds" if in_seconds else "steps"
        target = evaluation.names(group)[0]
        panel.set_title(f"{unit} to {target}'s end, {group} peers", fontsize=9)
        panel.set_xlabel("within this factor of the fastest", fontsize=8)
        panel.set_ylabel("share of tasks", fontsize=8)
        panel.legend(frameon=False, fontsize=7)
    _save(figure, path)


def draw_panels(
    evaluation: Evaluation, path: Path, *, titles: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    """Writes the learning curves of everybody: a column a task, by step above, by second below.

    Args:
        evaluation: What was measured, with seconds.
        path: Where to write the picture.
        titles: Of the columns, by task.
        labels: Of the contenders that are shown.
    """
    columns = len(evaluation.tasks)
    figure, panels = _figure(2, columns, (3.6, 2.6))
    styles = _styles(evaluation, list(labels))
    for number, panel in enumerate(panels):
        task, in_seconds = evaluation.tasks[number % columns], number >= columns
        for name, label in labels.items():
            row = evaluation.row(task.name, name)
            scale = (row.seconds_per_step or math.nan) if in_seconds else 1
            steps = tuple(step * scale for step in row.curve.steps)
            draw_curve(panel, label, replace(row.curve, steps=steps), styles[name])
        panel.set_title("" if in_seconds else titles[task.name], fontsize=9)
        panel.set_xlabel("seconds, one thread" if in_seconds else "step", fontsize=8)
        panel.tick_params(labelsize=7, which="both")
    figure.supylabel("training loss (mean of a tenth of the run)", fontsize=9)
    _legend(figure, panels, ncols=len(labels))
    _save(figure, path)


def draw_curve(panel: Any, name: str, curve: Curve, style: dict[str, Any]) -> None:
    """One contender's smoothed losses on a logarithmic axis; nothing where none is finite."""
    mean, low, high = (_positive(values) for values in (curve.mean, curve.low, curve.high))
    if np.isnan(mean).all():
        return
    (line,) = panel.plot(curve.steps, mean, label=name, **style)
    panel.fill_between(curve.steps, low, high, alpha=0.15, color=line.get_color(), linewidth=0)
    panel.set_yscale("log")


def _positive(values: Sequence[float]) -> np.ndarray:
    array = np.array(values)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)


def _styles(evaluation: Evaluation, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Thick warm lines for those judged, thin cold ones for peers."""
    judged = [name for name in names if name in evaluation.names("judged")]
    peers = [name for name in names if name not in judged]
    warm, cold = {"linewidth": 2.0, "zorder": 3}, {"linewidth": 1.1}
    pairs = ((judged, _JUDGED, warm), (peers, _PEERS, cold))
    return {
        name: {"color": color, **look}
        for group, colors, look in pairs
        for name, color in zip(group, cycle(colors), strict=False)
    }


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _legend(figure: Any, panels: Sequence[Any], ncols: int) -> None:
    lines = [panel.get_legend_handles_labels() for panel in panels]
    labels = {n: h for handles, names in lines for h, n in zip(handles, names, strict=True)}
    figure.legend(
        labels.values(), labels.keys(), loc="outside lower center", ncols=ncols, fontsize=8
    )


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
