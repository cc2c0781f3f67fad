"""The command `nfn-optim`: parses arguments, shows progress, writes files; others do the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from ._console import dumps, progress_bars, write_json
from ._suite_command import suite
from ._train_command import train, with_settings

_QUICK_SEEDS = 2
_QUICK_STEPS = 500


def demo(
    *,
    checkpoint: str = "default",
    steps: int = 500,
    out: Path = Path("out/demo.png"),
    json: Path | None = None,
) -> None:
    """Trains a digits classifier with tuned Adam and with the learned optimizer, and compares.

    Args:
        checkpoint: A file written by `train`, or `default` for the weights in the package.
        steps: Training steps of each network.
        out: Where to write the picture of both loss curves.
        json: Where to write the table's numbers.
    """
    import torch

    from nfn_optim import load_rule

    from . import _demo
    from ._preflight import check_overwrite
    from ._report import clean, versions

    if steps < 1:
        raise ValueError(f"--steps must be at least 1; got {steps}.")
    load_rule(checkpoint)  # a mistake shows before the training starts
    check_overwrite(out, json)
    torch.set_num_threads(1)  # the fastest for networks this small
    with progress_bars() as bars:
        first = bars.add_task(f"Adam, {_demo.NUM_RATES} rates", total=steps * _demo.NUM_RATES)
        second = bars.add_task("NFNOptimizer", total=steps)
        adam = _demo.run_adam(steps, lambda: bars.advance(first))
        learned = _demo.run_learned(checkpoint, steps, lambda: bars.advance(second))
    rows = [run.summary(adam.final_loss) for run in (adam, learned)]
    _print_table(f"{_demo.TASK}, {steps} steps, training loss as mean of 25 batches", rows)
    _demo.plot((adam, learned), out)
    print(f"Loss curves: {out.resolve()}")
    write_json(json, clean({"versions": versions(), "task": _demo.TASK, "runs": rows}))


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

    from ._baselines import find_baseline
    from ._evaluate import evaluate as run
    from ._preflight import check_overwrite
    from ._report import plot, to_json, to_markdown
    from .tasks._evaluation import find_tasks

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


def info(*, checkpoint: str = "default", json: Path | None = None) -> None:
    """Prints versions and the card of a checkpoint.

    Args:
        checkpoint: A file written by `train`, or `default` for the weights in the package.
        json: Where to write the same.
    """
    from nfn_optim import read_card

    from ._report import versions

    content = {"versions": versions(), "checkpoint": checkpoint, "card": read_card(checkpoint)}
    print(dumps(content))
    write_json(json, content)


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "suite": suite,
    "info": info,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's mistake ends it with one line and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS | {"train": with_settings(sys.argv[1:] if arguments is None else arguments)},
            prog="nfn-optim",
            description="Learned optimizers: try, evaluate and meta-train them.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except (ValueError, OSError) as error:
        print(f"nfn-optim: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("nfn-optim: interrupted", file=sys.stderr)
        sys.exit(130)


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
