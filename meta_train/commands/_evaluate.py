"""The command `nfn-optim evaluate`: beside what people would pick instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ._compare import compare, find_peers

if TYPE_CHECKING:
    from ..evaluation import EvaluationTask

_TASKS = ("field",)
_QUICK_TASKS = ("field-quick",)
_QUICK_STEPS = 200
_QUICK_RATES = 3


def evaluate(
    *,
    checkpoint: str = "default",
    tasks: tuple[str, ...] = _TASKS,
    draws: int = 8,
    steps: int | None = None,
    peers: tuple[str, ...] | None = None,
    peer: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    seeds: int = 2,
    told: bool = False,
    quick: bool = False,
    processes: int = 2,
    out: Path = Path("out/evaluate"),
    page: Path | None = None,
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Compares a learned optimizer with tuned and untuned peers on what people train.

    The rule that has learned nothing and the default are always beside it.

    Args:
        checkpoint: A file written by `train`, a name (`default`, `small`, `untrained`), or
            `hf://owner/name` on the Hugging Face Hub.
        tasks: Sets of tasks (field, field-dev, field-test, demo, digits, held-out,
            yardstick), single
            tasks by name, or your own as `file.py:name` or `package.module:name`: a family, or a
            list of tasks.
        draws: Tasks drawn from each family of your own, from seeds that training never draws from.
        steps: Steps of every run; without, each task's own, and 500 for those of a family.
        peers: What to compare with: adamw, muon, schedule-free, soap, prodigy, sgd or adam, tuned
            for every task, or one of them at a rate, such as adamw@0.001. All without.
        peer: One more; also `module:factory`, a function from a module to an optimizer.
        seeds: Networks trained with the settings that tuning finds.
        told: Tell the learned optimizer the number of steps (`num_steps=`).
        quick: 200 steps, three rates, one seed; of the field, eight tasks of field-dev. It is what
            one runs after a change.
        processes: Runs at the same time, one thread each.
        out: Folder for the page, its pictures, and the cache of finished runs.
        page: Where to write the page; in `out` without.
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write all numbers.
    """
    from ..evaluation import find_tasks

    names = _QUICK_TASKS if quick and tasks == _TASKS else tasks
    chosen = find_tasks(names, draws=draws, num_steps=steps)
    rivals = find_peers(peers, peer)
    if quick:
        chosen, rivals = _shortened(chosen), [c.narrowed(_QUICK_RATES) for c in rivals]
    compare(
        checkpoint,
        chosen,
        rivals,
        num_seeds=1 if quick else seeds,
        told=told,
        extensions=0 if quick else None,
        processes=processes,
        cache=out / "cache",
        page=page or out / "page.md",
        plain=plain,
        json=json,
    )


def _shortened(tasks: list[EvaluationTask]) -> list[EvaluationTask]:
    return [replace(task, num_steps=min(task.num_steps, _QUICK_STEPS)) for task in tasks]
