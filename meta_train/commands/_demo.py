"""The command `nfn-optim demo`: beside Adam, as it comes and tuned, on three kinds of networks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

from ._console import long_work, write_json

if TYPE_CHECKING:
    from ..evaluation import Evaluation, Row

STEPS = 300
_NUM_RATES = 5  # of Adam's grid; it grows where the best one is its end
_TUNED = "adam"
_GROUPS: tuple[Literal["untuned", "tuned", "judged"], ...] = ("untuned", "tuned", "judged")
_TITLES = {
    "digits-mlp": "MLP, digits",
    "digits-cnn": "CNN with batch norm, digits",
    "manual-gpt": "character GPT, Python's manual",
}
_NOTES = """\
end loss: training loss, mean of the last tenth of the steps; one seed
*: until the loss that tuned Adam ends with; a dash where it is never reached
sec.: of a processor for one run, on one thread
runs: all that it took; tuning tries rates, each constant and with a cosine"""


def demo(
    *,
    checkpoint: str = "default",
    steps: int = STEPS,
    processes: int = 2,
    out: Path = Path("out/demo.png"),
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Trains an MLP, a CNN and a character GPT with Adam, as it comes and tuned, and with ours.

    Args:
        checkpoint: A file written by `train`, a name (`default`, `small`, `untrained`), or
            `hf://owner/name` on the Hugging Face Hub.
        steps: Training steps of each run.
        processes: Runs at the same time, one thread each.
        out: Where to write the picture: losses by step and by second, a panel for each network.
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write all numbers.
    """
    from nfn_optim.native import step

    from ..evaluation import ADAM, draw_panels, evaluate, find_tasks, to_json
    from ..evaluation.contenders import learned
    from ..support import check_overwrite

    if steps < 1:
        raise ValueError(f"--steps must be at least 1; got {steps}.")
    ours = learned(checkpoint)  # a mistake shows before the training starts
    check_overwrite(out, json)
    tasks, tuned = find_tasks(["demo"], num_steps=steps), ADAM.narrowed(_NUM_RATES)
    start = time.perf_counter()
    status = step.LIBRARY.status()  # compiles it where that was not done before
    native_seconds = time.perf_counter() - start
    with long_work(str(out), kept="Nothing is kept.", plain=plain) as display:
        found = evaluate(
            ours,
            tasks,
            peers=[ADAM.at(1e-3), tuned],
            num_seeds=1,
            processes=processes,
            on_progress=display,
        )
    print_tables(found)
    print(f"native code, in none of the seconds: {status}, {native_seconds:.2g} s once a machine")
    labels = {name: label(name) for name in _names(found)}
    draw_panels(found, out, titles=_TITLES, labels=labels)
    print(f"Picture: {out.resolve()}")
    write_json(json, to_json(found) | {"native_seconds": native_seconds})


def label(contender: str) -> str:
    """A contender's name for readers."""
    theirs = {_TUNED: "Adam, tuned", "adam@0.001": "Adam at 0.001"}
    return theirs.get(contender, f"NFNOptimizer, {contender}")


def print_tables(found: Evaluation) -> None:
    """Prints every task's figures in at most 80 columns."""
    console = Console()
    for task in found.tasks:
        title = f"{_TITLES[task.name]}: {task.num_weights:,} weights, {task.num_steps} steps"
        table = Table("", title=title, title_justify="left", box=None)
        for heading in ("end loss", "held-out", "steps*", "sec.*", "sec.", "runs"):
            table.add_column(heading, justify="right")
        for name in _names(found):
            table.add_row(*_cells(found.row(task.name, name), task.num_steps))
        console.print(table, "")
    print(_NOTES)


def _names(found: Evaluation) -> list[str]:
    return [name for group in _GROUPS for name in found.names(group)]


def _cells(row: Row, num_steps: int) -> Iterator[str]:
    """A contender's line."""
    setting = f": {row.end_loss.rate:.2g}, {row.end_loss.schedule}" if row.num_runs > 1 else ""
    yield label(row.contender) + setting
    yield f"{row.end_loss.mean:.2g}"
    yield ", ".join(_score(name, score.mean) for name, score in row.scores.items())
    yield _number(row.steps_to[_TUNED][0], ".0f")
    yield _number(row.seconds_to(_TUNED), ".2f")
    yield _number(row.seconds_per_step, ".2f", times=num_steps)
    yield str(row.num_runs)


def _score(name: str, value: float) -> str:
    return f"{value:.1%}" if name == "test_accuracy" else f"loss {value:.2f}"


def _number(value: float | None, digits: str, times: int = 1) -> str:
    """A dash where there is none."""
    return "-" if value is None or math.isinf(value) else format(times * value, digits)
