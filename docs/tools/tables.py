"""Records as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from records import Number, Record


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(number: Number | None) -> str:
    """Mean and spread to the last digit that the spread has; empty for None."""
    if number is None:
        return ""
    if not number.spread:
        return f"{number.mean:.3g}"
    spread = f"{number.spread:.2g}"
    decimals = len(spread.partition(".")[2])
    mean = f"{number.mean:.3g}" if "e" in spread else f"{number.mean:.{decimals}f}"
    return f"{mean} ± {spread}"


def by_method(record: Record, measure: str) -> str:
    """A row for every task, a column for every method that has the measure."""
    methods = _methods_with(record, measure)
    rows = [
        [task, *(cell(record.number(task, method, measure)) for method in methods)]
        for task in record.tasks
    ]
    return table(["", *methods], rows)


def _methods_with(record: Record, measure: str) -> list[str]:
    having = {row.method for row in record.rows if measure in row.values}
    return [method for method in record.methods if method in having]


def by_task(record: Record, measure: str) -> str:
    """A row for every method that has the measure, a column for every task."""
    rows = (
        [method, *(cell(record.number(task, method, measure)) for task in record.tasks)]
        for method in _methods_with(record, measure)
    )
    return table(["", *record.tasks], rows)


def beside(record: Record, columns: Mapping[str, Sequence[str] | Mapping[str, float]]) -> str:
    """A row for every task; a column is a measure, of several methods with slashes between.

    Args:
        record: The figures.
        columns: The measure and the methods of each column, by its heading; or figures by task.
    """
    rows = (
        [task, *(_joined(record, task, column) for column in columns.values())]
        for task in record.tasks
    )
    return table(["", *columns], rows)


def _joined(record: Record, task: str, column: Sequence[str] | Mapping[str, float]) -> str:
    if isinstance(column, Mapping):
        return f"{column[task]:.1f}" if task in column else ""
    measure, *methods = column
    cells = [cell(record.number(task, method, measure)) for method in methods]
    return " / ".join(cells) if any(cells) else ""


def ends(
    evaluation: Mapping[str, Any], tasks: Mapping[str, str], contenders: Sequence[str], *, over: str
) -> str:
    """Losses at the end of an evaluation's tasks, over those of one contender.

    Args:
        evaluation: What `nfn-optim evaluate --json` writes.
        tasks: What is shown, by its heading.
        contenders: A column each.
        over: Whose losses are 1.
    """
    found = _ends(evaluation)
    rows = (
        [heading, *(_share(found.get((task, c)), found[task, over]) for c in contenders)]
        for heading, task in tasks.items()
    )
    return table(["", *contenders], rows)


def beside_adam(evaluation: Mapping[str, Any], tasks: Mapping[str, str]) -> str:
    """Adam as it comes, tuned Adam and the default: losses at the end, and what tuned Adam's takes.

    Args:
        evaluation: What `nfn-optim demo --json` writes.
        tasks: What is shown, by its heading.
    """
    found = {(row["task"], row["contender"]): row for row in evaluation["rows"]}
    rows = []
    for heading, task in tasks.items():
        usual, tuned, ours = (found[task, c] for c in ("adam@0.001", "adam", "shipped"))
        losses = [f"{row['end_loss']['mean']:.2g}" for row in (usual, tuned, ours)]
        losses[1] += f" ({tuned['num_runs']} runs)"
        steps = [_reached(row["steps_to"]["adam"][0]) for row in (tuned, ours)]
        seconds = [
            _reached(row["steps_to"]["adam"][0], row["seconds_per_step"]) for row in (tuned, ours)
        ]
        rows.append([heading, *losses, " / ".join(steps), " / ".join(seconds)])
    head = ["loss at the end", "Adam at 1e-3", "tuned Adam", "NFNOptimizer"]
    return table([*head, "steps to tuned Adam's loss: its / ours", "seconds"], rows)


def _reached(steps: float | None, seconds: float | None = None) -> str:
    """Steps, or their seconds; "never" where it is not reached."""
    if steps is None:
        return "never"
    return f"{steps:.0f}" if seconds is None else f"{steps * seconds:.2f}"


def lower(evaluation: Mapping[str, Any], contender: str, other: str) -> str:
    """On how many tasks of an evaluation a contender ends lower than another."""
    num_tasks = len({task for task, _ in _ends(evaluation)})
    return f"{num_tasks - len(higher(evaluation, contender, other))} of {num_tasks}"


def higher(evaluation: Mapping[str, Any], contender: str, other: str) -> list[str]:
    """On which tasks of an evaluation a contender ends no lower than another, or does not end."""
    found = _ends(evaluation)
    pairs = {task: (found[task, contender], found[task, other]) for task, _ in found}
    return [
        task for task, (end, of) in pairs.items() if end is None or (of is not None and end >= of)
    ]


def _ends(evaluation: Mapping[str, Any]) -> dict[tuple[str, str], float | None]:
    """Losses at the end by task and contender; None where a run did not come to it."""
    return {(row["task"], row["contender"]): row["end_loss"]["mean"] for row in evaluation["rows"]}


def _share(end: float | None, of: float | None) -> str:
    """Empty where a run did not come to its end."""
    return "" if end is None or of is None else f"{end / of:.2f}"


def origins(records: Mapping[str, Record]) -> str:
    """Where every record comes from."""
    rows = (
        [
            f"[{name}](../results/{name}.json)",
            f"`{record.command}`",
            f"`{record.commit[:7]}`",
            record.date.isoformat(),
            str(len(record.seeds)),
            "copied" if record.transcribed else "measured",
        ]
        for name, record in records.items()
    )
    return table(["figures", "command", "code", "date", "seeds", ""], rows)


def above(record: Record, method: str, measure: str, bound: float = 1.0) -> list[str]:
    """Tasks on which a method's measure is above a bound, the highest first."""
    means = _means(record, method, measure)
    return sorted((t for t, mean in means.items() if mean > bound), key=means.__getitem__)[::-1]


def ahead(record: Record, method: str, other: str, measure: str, best: str) -> str:
    """On how many tasks one method is better than another, of those that have both.

    Args:
        record: The figures.
        method: Who is ahead.
        other: Of whom.
        measure: In what.
        best: `lowest` or `highest`.
    """
    ours, theirs = _means(record, method, measure), _means(record, other, measure)
    sign = {"lowest": 1, "highest": -1}[best]
    gaps = [sign * (theirs[task] - mean) for task, mean in ours.items() if task in theirs]
    return f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"


def over(record: Record, method: str, other: str, measure: str) -> dict[str, float]:
    """A method's means over those of another, by task."""
    ours, theirs = _means(record, method, measure), _means(record, other, measure)
    return {task: mean / theirs[task] for task, mean in ours.items() if task in theirs}


def above_other(
    record: Record, method: str, other: str, measure: str, times: float = 1.0
) -> list[str]:
    """Tasks on which a method's mean is above so many times another's; below 0, above 0."""
    ours, theirs = _means(record, method, measure), _means(record, other, measure)
    bounds = {t: mean if times == 1 else times * max(mean, 0) for t, mean in theirs.items()}
    return [task for task, mean in ours.items() if mean > bounds[task]]


def extent(figures: Mapping[str, float]) -> str:
    """Least, largest and median of figures by task."""
    found = figures.values()
    return f"{min(found):.1f} to {max(found):.1f}, in the median {statistics.median(found):.1f}"


def median_and_worst(record: Record, method: str, measure: str) -> str:
    """Of a measure's means over tasks, where more is better."""
    means = _means(record, method, measure)
    worst = min(means, key=means.__getitem__)
    return f"median {statistics.median(means.values()):.2f}, worst {means[worst]:.2f} ({worst})"


def _means(record: Record, method: str, measure: str) -> dict[str, float]:
    numbers = ((task, record.number(task, method, measure)) for task in record.tasks)
    return {task: number.mean for task, number in numbers if number}
