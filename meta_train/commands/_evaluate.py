"""The command `nfn-optim evaluate`: against baselines tuned for every task."""

from __future__ import annotations

from pathlib import Path

from ..support import check_overwrite
from ._console import progress_bars, write_json

_QUICK_SEEDS = 2
_QUICK_STEPS = 500


def evaluate(
    *,
    checkpoint: str = "default",
    tasks: tuple[str, ...] = ("digits",),
    baselines: tuple[str, ...] = ("adam", "adamw", "sgd"),
    baseline: tuple[str, ...] = (),
    seeds: int = 5,
    told: bool = False,
    quick: bool = False,
    threads: int = 1,
    out: Path = Path("out/evaluate"),
    json: Path | None = None,
) -> None:
    """Compares a learned optimizer with baselines that are tuned for every task.

    Args:
        checkpoint: A file written by `train`, or `default` for the weights in the package.
        tasks: Sets of tasks (digits, held-out, yardstick) or single tasks by name.
        baselines: Bundled baselines to compare with.
        baseline: More baselines, each `module:factory`; the factory takes learning rates (n,) and
            returns an UpdateRule.
        seeds: Networks trained with every setting.
        told: Tell the learned optimizer the number of steps (`num_steps=`).
        quick: Only Adam, two seeds, and tasks of at most 500 steps.
        threads: Intra-op threads; one is fastest for networks this small.
        out: Folder for the table, the learning curves and the cache of the baselines' curves.
        json: Where to write all numbers.
    """
    import torch

    from ..evaluation import evaluate as run
    from ..evaluation import find_baseline, find_tasks, plot, to_json, to_markdown

    if threads < 1:
        raise ValueError(f"--threads must be at least 1; got {threads}.")
    table, curves = out / "table.md", out / "curves.png"
    check_overwrite(table, curves, json)
    torch.set_num_threads(threads)
    chosen = find_tasks(tasks)
    names = (*(("adam",) if quick else baselines), *baseline)
    if quick:
        chosen = [task for task in chosen if task.num_steps <= _QUICK_STEPS]
    with progress_bars() as bars:
        bar = bars.add_task("preparing", total=None)
        evaluation = run(
            checkpoint,
            chosen,
            baselines=[find_baseline(name) for name in names],
            num_seeds=min(seeds, _QUICK_SEEDS) if quick else seeds,
            told=told,
            cache=out / "cache",
            on_progress=lambda label, done, total: bars.update(
                bar, description=label, completed=done, total=total
            ),
        )
    text = to_markdown(evaluation)
    print(text)
    table.write_text(text)
    plot(evaluation.tasks, curves)
    print(f"Table: {table}\nLearning curves: {curves}")
    write_json(json, to_json(evaluation))
