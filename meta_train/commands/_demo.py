"""The command `nfn-optim demo`: tuned Adam and the learned optimizer on digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..support import Work, check_overwrite, clean, versions
from ._console import long_work, write_json


def demo(
    *,
    checkpoint: str = "default",
    steps: int = 500,
    out: Path = Path("out/demo.png"),
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Trains a digits classifier with tuned Adam and with the learned optimizer, and compares.

    Args:
        checkpoint: A file written by `train`, or a name: `default`, `small` or `untrained`.
        steps: Training steps of each network.
        out: Where to write the picture of both loss curves.
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write the table's numbers.
    """
    import torch

    from nfn_optim import load_rule

    from . import _demo_runs

    if steps < 1:
        raise ValueError(f"--steps must be at least 1; got {steps}.")
    load_rule(checkpoint)  # a mistake shows before the training starts
    check_overwrite(out, json)
    torch.set_num_threads(1)  # the fastest for networks this small
    with long_work(str(out), kept="Nothing is kept.", plain=plain) as display:
        work, num_rates = Work(display), _demo_runs.NUM_RATES
        stages = {f"Adam, {num_rates} rates": num_rates * steps, "NFNOptimizer": steps}
        for stage, total in stages.items():
            work.plan(stage, total, kind="steps")
        first, second = (partial(_advance, work, stage) for stage in stages)
        adam = _demo_runs.run_adam(steps, first)
        learned = _demo_runs.run_learned(checkpoint, steps, second)
    rows = [run.summary(adam.final_loss) for run in (adam, learned)]
    _print_table(
        f"{_demo_runs.TASK}, {steps} steps, training loss as mean of a tenth of the steps", rows
    )
    _demo_runs.plot((adam, learned), out)
    print(f"Loss curves: {out.resolve()}")
    write_json(json, clean({"versions": versions(), "task": _demo_runs.TASK, "runs": rows}))


def _advance(work: Work, stage: str) -> None:
    work.tell(stage, work.stages[stage].done + 1)


def _print_table(title: str, rows: Sequence[Mapping[str, float | str | None]]) -> None:
    """Prints one column for each row, since there are more figures than optimizers."""
    table = Table(
        "", *(str(row["optimizer"]) for row in rows), title=title, min_width=len(title) + 4
    )
    for key in list(rows[0])[1:]:
        table.add_row(key.replace("_", " "), *(_cell(row[key]) for row in rows))
    Console().print(table)


def _cell(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else value
