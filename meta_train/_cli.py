"""The command `nfn-optim`: parses arguments, shows progress, writes files; others do the work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import tyro

from ._config import TrainConfig

_QUICK_SEEDS = 2
_QUICK_STEPS = 500


def evaluate(
    *,
    checkpoint: str = "default",
    tasks: tuple[str, ...] = ("digits",),
    baselines: tuple[str, ...] = ("adam", "adamw", "sgd"),
    baseline: tuple[str, ...] = (),
    seeds: int = 5,
    quick: bool = False,
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
        quick: Only Adam, two seeds, and tasks of at most 500 steps.
        out: Folder for the table, the learning curves and the cache of the baselines' curves.
        json: Where to write all numbers.
    """
    from ._baselines import find_baseline
    from ._evaluate import evaluate as run
    from ._report import plot, to_json, to_markdown
    from .tasks._evaluation import find_tasks

    chosen = find_tasks(tasks)
    names = (*(("adam",) if quick else baselines), *baseline)
    if quick:
        chosen = [task for task in chosen if task.num_steps <= _QUICK_STEPS]
    with _progress() as on_progress:
        evaluation = run(
            checkpoint,
            chosen,
            baselines=[find_baseline(name) for name in names],
            num_seeds=min(seeds, _QUICK_SEEDS) if quick else seeds,
            cache=out / "cache",
            on_progress=on_progress,
        )
    text = to_markdown(evaluation)
    print(text)
    (out / "table.md").write_text(text)
    plot(evaluation.tasks, out / "curves.png")
    print(f"Table: {out / 'table.md'}\nLearning curves: {out / 'curves.png'}")
    _write_json(json, to_json(evaluation))


def info(*, checkpoint: str = "default", json: Path | None = None) -> None:
    """Prints versions and the card of a checkpoint.

    Args:
        checkpoint: A file written by `train`, or `default` for the weights in the package.
        json: Where to write the same.
    """
    from nfn_optim import read_card

    from ._report import versions

    content = {"versions": versions(), "checkpoint": checkpoint, "card": read_card(checkpoint)}
    print(_dumps(content))
    _write_json(json, content)


def train(
    *,
    out: Path,
    tasks: str | None = None,
    config: Annotated[TrainConfig, tyro.conf.OmitArgPrefixes] = TrainConfig(),  # noqa: B008
    resume: bool = False,
    json: Path | None = None,
) -> None:
    """Meta-trains an optimizer.

    Args:
        out: Safetensors file to write; `out.resume` beside it holds what `resume` needs.
        tasks: A family of tasks, `file.py:name` or `package.module:name`; the bundled one without.
        config: Settings.
        resume: Continue the run that wrote `out`.
        json: Where to write the run's card: settings, progress, versions.
    """
    from ._train import DEFAULT_TASKS
    from ._train import train as run

    trainer = run(out, config, tasks=tasks or DEFAULT_TASKS, resume=resume)
    print(f"Optimizer: {out}")
    _write_json(json, trainer.card("nfn-optim train"))


COMMANDS: dict[str, Callable[..., None]] = {"train": train, "evaluate": evaluate, "info": info}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's mistake ends it with one line and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="nfn-optim",
            description="Learned optimizers: try, evaluate and meta-train them.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except (ValueError, TypeError, OSError) as error:
        print(f"nfn-optim: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("nfn-optim: interrupted", file=sys.stderr)
        sys.exit(130)


@contextmanager
def _progress() -> Iterator[Callable[[str, float, float], None]]:
    """A progress bar with the time left, on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("preparing", total=None)

        def on_progress(label: str, done: float, total: float) -> None:
            progress.update(bar, description=label, completed=done, total=total)

        yield on_progress


def _write_json(path: Path | None, content: Any) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_dumps(content) + "\n")
        print(f"JSON: {path}")


def _dumps(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False)
