"""The plots of docs/results.md, made from records and from the evaluation on the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from records import ROOT, Record

FOLDER = ROOT / "docs" / "figures"
_MARKS = {
    "shipped": ("o", "#e69f00"),
    "untrained": ("s", "#777777"),
    "small": ("^", "#c1272d"),
}
_CURVES = {  # six of many kinds, and the two where the default ends clearly above AdamW
    "ResNet, EMNIST": "emnist-resnet",
    "vision transformer, Fashion-MNIST": "fashion-vit",
    "character GPT, width 64": "code-gpt-64",
    "table, forest cover": "forest-mlp-batch-1024",
    "MLP 784-512-512-10": "fashion-mlp-512",
    "SIREN, a photograph": "photo-siren",
    "regression 8-32-1": "sines-8-32-1",
    "GRU, vowels": "vowels-gru",
}
_BESIDE = {
    "shipped": ("NFNOptimizer, nothing tuned", "#e69f00"),
    "adamw": ("tuned AdamW", "#777777"),
    "muon": ("tuned Muon", "#0072b2"),
    "schedule-free": ("tuned Schedule-Free AdamW", "#009e73"),
}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "nfn_optim",
}

Draw = Callable[[Mapping[str, Record]], Figure]


def speedup(records: Mapping[str, Record]) -> Figure:
    """Steps saved against tuned Adam, a line for every task."""
    parts = [records["digits"], records["held-out"]]
    figure, panel = _lines([task for record in parts for task in record.tasks])
    for place, method in enumerate(_MARKS):
        _dots(panel, parts, method, 0.2 * (place - 1))
    panel.axhline(len(parts[0].tasks) - 0.5, color="black", linewidth=0.5, linestyle="--")
    panel.set_xlabel("speed-up in steps to tuned Adam's final loss (right of the line is better)")
    _legend(figure, panel)
    return figure


def cost(records: Mapping[str, Record]) -> Figure:
    """Time of a step over Adam's, bars for every network."""
    record = records["step-cost"]
    methods = ("NFNOptimizer", "small", "fused=False")
    figure, panel = _lines(record.tasks, height=0.5)
    for place, method in enumerate(methods):
        numbers = [record.number(task, method, "times_adam") for task in record.tasks]
        widths = [number.mean if number else 0.0 for number in numbers]
        heights = [line + 0.25 * (place - 1) for line in range(len(widths))]
        panel.barh(heights, widths, 0.22, label=method)
    panel.set_xlabel("time of a step in training, over Adam's")
    _legend(figure, panel)
    return figure


def suites(records: Mapping[str, Record]) -> Figure:
    """Scores of the paper's tasks, a panel for every suite."""
    parts = [record for name, record in records.items() if name.startswith("suite-")]
    figure = Figure(figsize=(9, 9), layout="constrained")
    cells: Any = figure.subfigures(3, 2)
    for part, record in zip(cells.flat, parts, strict=True):
        panel = part.subplots()
        for task in record.tasks:
            _scores(panel, record, task)
        panel.invert_yaxis()
        panel.set_xlabel(record.measures["score"])
        panel.set_title(record.title, fontsize=9)
        _legend(part, panel)
    return figure


def curves(field: Mapping[str, Any]) -> Figure:
    """Training losses of the default and of tuned peers, a panel for each of eight tasks."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    rows = {(row["task"], row["contender"]): row["curve"] for row in field["rows"]}
    for panel, (title, task) in zip(figure.subplots(2, 4).flat, _CURVES.items(), strict=True):
        for contender, (label, color) in _BESIDE.items():
            curve = rows[task, contender]
            width = 2.2 if contender == "shipped" else 1.2
            panel.plot(curve["steps"], curve["mean"], color=color, linewidth=width, label=label)
        panel.set_title(title, fontsize=9)
        panel.set_yscale("log")
        panel.tick_params(axis="y", which="both", labelsize=7)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("training loss", fontsize=9)
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _scores(panel: Axes, record: Record, task: str) -> None:
    """The scores of all methods on one task; crosses for the paper's."""
    measured = [(method, record.number(task, method, "score")) for method in record.methods]
    shown = [(method, number.mean) for method, number in measured if number]
    marker, color = ("x", "black") if task.startswith("paper") else ("o", None)
    panel.scatter(
        [mean for _, mean in shown], [m for m, _ in shown], marker=marker, c=color, label=task
    )


FIGURES: dict[str, Draw] = {"speedup": speedup, "cost": cost, "suites": suites}


NAMES = ("curves", *FIGURES)


def write_figures(
    records: Mapping[str, Record], field: Mapping[str, Any], folder: Path = FOLDER
) -> None:
    """Draws all plots into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        drawn = {"curves": curves(field)} | {name: draw(records) for name, draw in FIGURES.items()}
        for name, figure in drawn.items():
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _lines(tasks: Sequence[str], height: float = 0.32) -> tuple[Figure, Axes]:
    """A panel with a line for every task, the first at the top, and a mark at 1."""
    figure = Figure(figsize=(7.5, 1.2 + height * len(tasks)), layout="constrained")
    panel = figure.subplots()
    panel.set_yticks(range(len(tasks)), tasks)
    panel.set_ylim(len(tasks) - 0.5, -0.5)
    panel.axvline(1, color="black", linewidth=0.8)
    panel.grid(axis="y", linewidth=0.4, alpha=0.5)
    return figure, panel


def _dots(
    panel: Axes,
    records: Sequence[Record],
    method: str,
    offset: float,
) -> None:
    """Speed-ups over Adam with their spreads, on the lines of the records' tasks in their order."""
    measured = [r.number(task, method, "speedup_adam") for r in records for task in r.tasks]
    points = [(k + offset, n.mean, n.spread or 0.0) for k, n in enumerate(measured) if n]
    heights, means, spreads = zip(*points, strict=True)
    marker, color = _MARKS[method]
    panel.errorbar(
        means,
        heights,
        xerr=spreads if any(spreads) else None,
        fmt=marker,
        markersize=5,
        linewidth=1,
        color=color,
        label=method,
        clip_on=False,
    )


def _legend(figure: FigureBase, panel: Axes) -> None:
    figure.legend(
        *panel.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8
    )
