"""An evaluation for people who look at a terminal; its page has all of it."""

from __future__ import annotations

import math

from rich.table import Table

from ..evaluation import Evaluation, Row, loss_ratio
from ..evaluation.contenders import SHIPPED, UNTRAINED
from ..evaluation.report import Group, versus
from ._console import figures, print_table, prose

_FEW = 3  # tasks that are shown with every contender
_NAMES = {
    SHIPPED: "the default, NFNOptimizer(model)",
    UNTRAINED: "NFNOptimizer(model, checkpoint='untrained'), which has learned nothing",
}
_PEERS: tuple[tuple[Group, str], ...] = (
    ("tuned", "the best tuned peer"),
    ("untuned", "the best untuned one"),
)


def print_evaluation(evaluation: Evaluation) -> None:
    """Prints the most important figures in 80 columns, without cutting a name."""
    if len(evaluation.tasks) <= _FEW:
        tables = [_contenders(evaluation, task.name) for task in evaluation.tasks]
    else:
        judged = evaluation.names("judged")
        tables = [_tasks(evaluation), *(_over_tasks(evaluation, name) for name in judged)]
    for table in tables:
        if table.row_count:
            print_table(table)
    if len(evaluation.tasks) <= _FEW:
        for line in (*_endings(evaluation), *_names(evaluation)):
            prose(line)
    for line in _failures(evaluation):
        prose(line)


def _endings(evaluation: Evaluation) -> list[str]:
    """A sentence on each task: where the contender that is judged first ends beside its peers."""
    name = evaluation.names("judged")[0] if evaluation.names("judged") else None
    lines = []
    for task in evaluation.tasks:
        beside = [
            f"{loss_ratio(evaluation.row(task.name, name), best):.2f} times that of "
            f"{best.contender}, {what}"
            for group, what in _PEERS
            if name and (best := _best(evaluation, task.name, group)) is not None
        ]
        if beside:
            lines.append(f"{task.name}: the end loss of {name} is {', and '.join(beside)}.")
    return lines


def _best(evaluation: Evaluation, task: str, group: Group) -> Row | None:
    rows = [evaluation.row(task, name) for name in evaluation.names(group)]
    return min(rows, key=_end_loss, default=None)


def _names(evaluation: Evaluation) -> list[str]:
    """What the names of contenders say that are ours or have a rate."""
    judged, untuned = evaluation.names("judged"), evaluation.names("untuned")
    lines = [f"{name}: {said}." for name, said in _NAMES.items() if name in judged]
    if untuned:
        lines.append(
            f"{untuned[0]}: at the rate that people start with; those without a rate are tuned."
        )
    return lines


def _contenders(evaluation: Evaluation, task: str) -> Table:
    """What every contender did on a task, the best first."""
    info = next(each for each in evaluation.tasks if each.name == task)
    title = f"{task}: {info.num_steps:,} steps, {info.num_weights:,} weights"
    table = figures(title, "contender", "rate", "end loss", "held out", "ms a step")
    rows = [row for row in evaluation.rows if row.task == task]
    for row in sorted(rows, key=_end_loss):
        style = "bold" if row.group == "judged" else None
        table.add_row(row.contender, *_contender_cells(row), style=style)
    return table


def _contender_cells(row: Row) -> tuple[str, ...]:
    end = row.end_loss
    rate = f"{end.rate:.2g}, {end.schedule}" if row.group == "tuned" else "-"
    score = next(iter(row.scores.values()), None)
    return (
        rate,
        _figure(end.mean),
        "-" if score is None else _figure(score.mean),
        "-" if row.seconds_per_step is None else f"{1e3 * row.seconds_per_step:.2f}",
    )


def _tasks(evaluation: Evaluation) -> Table:
    """End losses of those judged beside the best peer of every task."""
    judged, peers = evaluation.names("judged"), evaluation.names("tuned", "untuned")
    table = figures("End losses", "task", *judged, *(("best peer",) if peers else ()))
    if peers:
        table.add_column("", no_wrap=True)
    for task in evaluation.tasks:
        losses = [_figure(evaluation.row(task.name, n).end_loss.mean) for n in judged]
        beside = []
        if peers:
            best = min((evaluation.row(task.name, name) for name in peers), key=_end_loss)
            beside = [_figure(best.end_loss.mean), best.contender]
        table.add_row(task.name, *losses, *beside)
    return table


def _over_tasks(evaluation: Evaluation, name: str) -> Table:
    """A contender beside every peer, over all tasks."""
    heads = ("reached", "speed-up, median", "worst", "in seconds", "end loss ratio")
    table = figures(f"{name}, over all tasks", "beside", *heads)
    for peer in evaluation.names("tuned", "untuned"):
        pair = versus(evaluation, name, peer)
        if pair is not None:
            table.add_row(
                peer,
                f"{pair.num_reached} of {pair.num_tasks}",
                f"{pair.median:.2f}",
                f"{pair.worst:.2f}",
                "-" if pair.seconds is None else f"{pair.seconds:.2f}",
                _figure(pair.loss_ratio),
            )
    return table


def _failures(evaluation: Evaluation) -> list[str]:
    return [
        f"{row.task} by {row.contender}: {row.failure}." for row in evaluation.rows if row.failure
    ]


def _end_loss(row: Row) -> float:
    return row.end_loss.mean if math.isfinite(row.end_loss.mean) else math.inf


def _figure(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"
