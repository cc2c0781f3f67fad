"""An evaluation as a page that shows at once where a contender wins and where it loses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._json import from_json
from ._over_tasks import Versus, versus
from ._plots import plot_curves, plot_profiles
from ._results import Evaluation, Group, Measured, Row

_HEADINGS: dict[Group, str] = {"tuned": "Against tuned peers", "untuned": "Against untuned peers"}

_EXPLAINED = (
    "Speed-up: the length of the run over the steps to the peer's end loss; 0 where it never is "
    "reached.\nIQM: interquartile mean over tasks and seeds, with a 95% bootstrap interval.\n"
    "In seconds: the median speed-up times seconds a step of the peer over ours.\n"
    "End loss: the median of ours over the peer's; below 1 is better."
)


def write_page(content: Mapping[str, Any], path: Path) -> None:
    """Writes the page of what `to_json` gave and, beside it, its pictures.

    Args:
        content: What was measured, and how.
        path: Of the page, `.md`.
    """
    evaluation = from_json(content)
    curves, profiles = (path.with_name(f"{path.stem}-{k}.png") for k in ("curves", "profiles"))
    plot_curves(evaluation, curves)
    parts = [f"# {_title(evaluation)}", _source(content)]
    if evaluation.names("tuned", "untuned") and len(evaluation.tasks) > 1:
        plot_profiles(evaluation, profiles)
        parts.append(f"![Performance profiles]({profiles.name})")
    parts += [f"![Training losses]({curves.name})", to_markdown(evaluation)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part for part in parts if part))


def to_markdown(evaluation: Evaluation) -> str:
    """The tables: over tasks beside each group of peers, end losses, and all other figures."""
    parts = [_EXPLAINED] if evaluation.names("tuned", "untuned") else []
    parts += [part for group in _HEADINGS for part in _over_tasks(evaluation, group)]
    parts += ["## End losses", *_end_losses(evaluation)]
    parts += _ways_to_ends(evaluation)
    parts += ["## Every contender on every task", _details(evaluation)]
    notes = _notes(evaluation)
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def _source(content: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, content["seeds"]))
    return (
        f"`{content['command']}`, commit {content['commit'][:10]}, seeds {seeds}, "
        f"{content['machine']}.\n[How optimizers are compared](evaluation.md)."
    )


def _title(evaluation: Evaluation) -> str:
    judged = " and ".join(f"`{name}`" for name in evaluation.names("judged"))
    count = len(evaluation.tasks)
    return f"{judged or 'Optimizers'} on {count} task{'s' if count != 1 else ''}"


def _over_tasks(evaluation: Evaluation, group: Group) -> list[str]:
    peers, judged = evaluation.names(group), evaluation.names("judged")
    pairs = [v for name in judged for peer in peers if (v := versus(evaluation, name, peer))]
    if not pairs:
        return []
    head = ("", "beside", "reached", "median speed-up", "IQM", "worst", "in seconds", "end loss")
    rows = [_versus_cells(pair) for pair in pairs]
    return [f"## {_HEADINGS[group]}", _table(head, rows)]


def _versus_cells(pair: Versus) -> tuple[str, ...]:
    interval = "" if pair.interval is None else " ({:.2f} to {:.2f})".format(*pair.interval)
    return (
        pair.contender,
        pair.peer,
        f"{pair.num_reached} of {pair.num_tasks}",
        f"{pair.median:.2f}",
        f"{pair.iqm:.2f}{interval}",
        f"{pair.worst:.2f} ({pair.worst_task})",
        "-" if pair.seconds is None else f"{pair.seconds:.2f}",
        _figure(pair.loss_ratio),
    )


def _end_losses(evaluation: Evaluation) -> list[str]:
    """End losses over those of the first peer; the best of a task is bold."""
    names = evaluation.names("judged", "tuned", "untuned")
    base = next(iter(evaluation.names("tuned", "untuned")), names[0])
    rows = []
    for task in evaluation.tasks:
        losses = [evaluation.row(task.name, name).end_loss.mean for name in names]
        reference = evaluation.row(task.name, base).end_loss.mean
        best = min(losses)
        cells = [_relative(loss, reference, loss == best) for loss in losses]
        rows.append((task.name, f"{task.num_steps:,}", f"{task.num_weights:,}", *cells))
    explained = f"Mean of the last tenth of the training losses, over that of `{base}`. Bold: best."
    return [explained, _table(("task", "steps", "weights", *names), rows)]


def _ways_to_ends(evaluation: Evaluation) -> list[str]:
    """Steps and seconds in which those judged reach the end losses of tuned peers."""
    peers = evaluation.names("tuned")
    rows = [
        (task.name, name, *(_way(evaluation.row(task.name, name), peer) for peer in peers))
        for task in evaluation.tasks
        for name in evaluation.names("judged")
    ]
    heading = "## Steps (and seconds) to the end losses of tuned peers"
    return [heading, _table(("task", "contender", *peers), rows)] if peers and rows else []


def _way(row: Row, peer: str) -> str:
    reached = [steps for steps in row.steps_to[peer] if math.isfinite(steps)]
    if not reached:
        return "never"
    partly = "" if len(reached) == len(row.steps_to[peer]) else f", {len(reached)} seed(s) only"
    steps = sum(reached) / len(reached)
    seconds = "" if row.seconds_per_step is None else f" ({steps * row.seconds_per_step:.2g} s)"
    return f"{steps:.0f}{seconds}{partly}"


def _relative(loss: float, reference: float, is_best: bool) -> str:
    text = _figure(loss / reference) if reference else _figure(loss)
    return f"**{text}**" if is_best and math.isfinite(loss) else text


def _details(evaluation: Evaluation) -> str:
    losses = ("rate", "end loss", "mean loss", "held out")
    head = ("task", "contender", *losses, "ms a step", "MB a step", "diverged")
    return _table(head, [_detail(row) for row in evaluation.rows])


def _detail(row: Row) -> tuple[str, ...]:
    scores = [f"{name.removeprefix('test_')} {_spread(s)}" for name, s in row.scores.items()]
    return (
        row.task,
        row.contender,
        f"{row.end_loss.rate:.2g}, {row.end_loss.schedule}",
        _spread(row.end_loss),
        _spread(row.mean_loss),
        ", ".join(scores),
        "-" if row.seconds_per_step is None else f"{1e3 * row.seconds_per_step:.2f}",
        "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.1f}",
        f"{row.num_diverged} of {row.num_runs}",
    )


def _notes(evaluation: Evaluation) -> list[str]:
    notes = []
    for row in evaluation.rows:
        where = f"{row.task}, {row.contender}"
        if row.failure:
            notes.append(f"{where}: {row.failure}.")
        if row.added_rates:
            added = ", ".join(f"{rate:.2g}" for rate in row.added_rates)
            notes.append(f"{where}: the grid was extended by {added}.")
        if row.at_an_end:
            notes.append(f"{where}: the best rate is at an end of the grid.")
    return notes


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _spread(measured: Measured) -> str:
    if len(measured.per_seed) == 1 or not math.isfinite(measured.std):
        return _figure(measured.mean, 4)
    return f"{_figure(measured.mean, 4)} ± {measured.std:.1g}"


def _figure(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}g}" if math.isfinite(value) else "-"
