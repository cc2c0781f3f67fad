"""The command `nfn-optim zoo`: predicts a property of networks that a user has trained."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ._console import figures, long_work, print_table, use_threads, write_json

if TYPE_CHECKING:
    from ..prediction import Prediction
    from ..support import Work

_SHOWN = 10  # skipped networks


def zoo(
    action: Annotated[Literal["predict"], tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    labels: Path,
    target: str,
    group: str | None = None,
    task: Literal["regression", "classification"] | None = None,
    network: str | None = None,
    seeds: int = 3,
    threads: int = 1,
    skip_bad: bool = False,
    plot: Path | None = None,
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Predicts a property of networks from their weights: `zoo predict FOLDER`.

    Args:
        action: What to do: `predict`.
        folder: With state dicts (.pt, .pth, .bin, .safetensors), or folders with config.json and
            model.safetensors; of any widths and depths.
        labels: A table, CSV or Parquet, with a row a network. The column `network`, `name`, `file`
            or `path`, else the first, names files in the folder.
        target: Which column to predict. Strings and integers with few different values are classes,
            other numbers are not.
        group: A column; networks with equal values are not split between training and testing.
        task: What the target is, where the column's values should not decide.
        network: `module:function` that makes a module from the content of config.json; without,
            every network must be a chain of layers whose order is certain, such as an MLP.
        seeds: How many splits and readers.
        threads: Intra-op threads.
        skip_bad: Leaves out networks that cannot be used, and says which, instead of an error.
        plot: Where to write a picture (PNG).
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write scores and all predictions.
    """
    from ..prediction import plot_prediction, predict
    from ..support import Work, check_overwrite, load_reference
    from ..zoo import check_columns, from_state_dicts, read_columns

    use_threads(threads)
    check_overwrite(plot, json)
    columns = read_columns(labels)
    check_columns(columns, *(name for name in (target, group) if name is not None))
    build = None if network is None else load_reference(network, "--network")
    files = ", ".join(str(path) for path in (plot, json) if path is not None)
    with long_work(files, kept="Nothing is kept.", plain=plain) as display:
        reading = Work(display)
        for stage in ("reading", "training"):
            reading.plan(stage)
        collection = from_state_dicts(
            folder,
            build,
            columns,
            skip_bad=skip_bad,
            on_progress=partial(_read, reading),
        )
        result = predict(
            target,
            collection,
            group=group,
            task=task,
            seeds=seeds,
            skip_bad=skip_bad,
            on_progress=display,
        )
    _print_result(result)
    if plot is not None:
        plot_prediction(result, plot)
        print(f"Picture: {plot}")
    write_json(json, result.to_json())


def _read(work: Work, done: int, total: int) -> None:
    work.plan("reading", total)
    work.tell("reading", done)


def _print_result(result: Prediction) -> None:
    train, validation, test = result.networks
    title = (
        f"{result.task} of {result.target}: {train} networks for training, {validation} for "
        f"validation, {test} for testing, of {result.architectures} architectures"
    )
    table = figures(title, "score", "test networks")
    for name in result.scores:
        spread = f" ± {result.std(name):.2g}" if len(result.scores[name]) > 1 else ""
        table.add_row(name, f"{result.mean(name):.4g}{spread}")
    print_table(table)
    if result.skipped:
        print(f"Skipped {len(result.skipped)}:")
        for name, reason in list(result.skipped.items())[:_SHOWN]:
            print(f"  {name} {reason}")
        if len(result.skipped) > _SHOWN:
            print(f"  and {len(result.skipped) - _SHOWN} more; --json has all")
