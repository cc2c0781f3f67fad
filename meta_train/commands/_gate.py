"""The command `nfn-optim gate`: may this checkpoint become the default?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich import box
from rich.table import Table

from ._console import figures, long_work, print_table, write_json

if TYPE_CHECKING:
    from ..evaluation import Condition, Evaluation

DO_NOT_SHIP = 4  # exit status
_CANDIDATE = "candidate"


def gate(
    checkpoint: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")],
    /,
    *,
    tasks: tuple[str, ...] = ("field-dev",),
    long: tuple[str, ...] = ("field-long",),
    steps: int | None = None,
    seeds: int = 3,
    processes: int = 2,
    record: bool = False,
    out: Path = Path("out/gate"),
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Says whether a checkpoint may become the default: ship, or do not ship.

    It is compared with the rule that has learned nothing, and with the default where that has
    learned something. It must be faster than no learning, nowhere much worse, end no higher than
    the default, keep in long runs what it reaches, and diverge no more often. The exit status is 4
    where it may not take its place.

    Args:
        checkpoint: A file written by `train`, or `hf://owner/name` on the Hugging Face Hub.
        tasks: Sets of tasks or single ones, as for `evaluate`.
        long: Likewise, tasks whose runs are long. Speed does not count there, nor do end losses.
        steps: Steps of every run but the long ones; without, each task's own.
        seeds: Networks trained on each task, the same with every rule.
        processes: Runs at the same time, one thread each.
        record: Write what was found into the checkpoint's card.
        out: Folder for the cache of finished runs.
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write all numbers.
    """
    from ..evaluation import evaluate, find_tasks, to_json
    from ..evaluation import gate as conditions
    from ..evaluation.contenders import UNTRAINED, learned, name_of_default
    from ..support import check_overwrite, clean

    check_overwrite(json)
    if record and not Path(checkpoint).is_file():
        raise ValueError(f"--record needs a file to write into, and there is no {checkpoint}.")
    candidate = replace(learned(checkpoint), name=_CANDIDATE)
    lasting = find_tasks(long) if long else []
    names = [task.name for task in lasting]
    judged = [task for task in find_tasks(tasks, num_steps=steps) if task.name not in names]
    if not judged:
        raise ValueError("--tasks names none beside those of --long. Name others.")
    cache = out / "cache"
    kept = f"Finished runs are kept in {cache}."
    with long_work(str(cache), kept=kept, plain=plain) as display:
        evaluation = evaluate(
            candidate,
            [*judged, *lasting],
            peers=(),
            num_seeds=seeds,
            costs=False,
            cache=cache,
            processes=processes,
            on_progress=display,
        )
    others = tuple(dict.fromkeys((UNTRAINED, name_of_default())))
    found = conditions(evaluation, _CANDIDATE, *others, long=names)
    is_good = all(condition.holds for condition in found)
    asked = clean([asdict(condition) for condition in found])
    print_tables(evaluation, others, found)
    print(f"{'Ship' if is_good else 'Do not ship'}: {checkpoint}")
    if record:
        settings = {"tasks": list(tasks), "long": list(long), "steps": steps, "seeds": seeds}
        _record(Path(checkpoint), settings | {"conditions": asked})
    write_json(json, to_json(evaluation) | {"gate": asked})
    if not is_good:
        sys.exit(DO_NOT_SHIP)


def print_tables(evaluation: Evaluation, others: Sequence[str], found: Sequence[Condition]) -> None:
    """Prints what was measured on every task, and what was asked."""
    print_table(_by_task(evaluation, others))
    print_table(_conditions(found))


def _by_task(evaluation: Evaluation, others: Sequence[str]) -> Table:
    from ..evaluation import loss_ratio, speedup

    of_others = (f"end loss / {name}" for name in others)
    speed = f"speed-up over {others[0]}"
    table = figures(_CANDIDATE, "task", "steps", speed, *of_others)
    for task in evaluation.tasks:
        own, *beside = (evaluation.row(task.name, name) for name in (_CANDIDATE, *others))
        measured = (speedup(own, beside[0]), *(loss_ratio(own, other) for other in beside))
        table.add_row(task.name, str(task.num_steps), *(f"{figure:.3f}" for figure in measured))
    return table


def _conditions(found: Sequence[Condition]) -> Table:
    table = Table("asked", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("found", justify="right")
    table.add_column("where", no_wrap=True)
    table.add_column("")
    for each in found:
        table.add_row(each.asked, f"{each.figure:.3f}", each.where, "yes" if each.holds else "NO")
    return table


def _record(checkpoint: Path, found: dict[str, object]) -> None:
    """Writes the findings into the card; the weights stay as they are."""
    from nfn_optim import load_rule, read_card, save_rule

    save_rule(load_rule(checkpoint), checkpoint, read_card(checkpoint) | {"gate": found})
    print(f"Recorded in the card of {checkpoint}.")
