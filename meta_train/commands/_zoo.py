"""The command `nfn-optim zoo`: predicts a property of networks that a user has trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from ._console import stage_progress, use_threads, write_json

if TYPE_CHECKING:
    from ..prediction import Prediction

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
        json: Where to write scores and all predictions.
    """
    from ..prediction import plot_prediction, predict
    from ..support import check_overwrite, load_reference
    from ..zoo import check_columns, from_state_dicts, read_columns

    use_threads(threads)
    check_overwrite(plot, json)
    columns = read_columns(labels)
    check_columns(columns, *(name for name in (target, group) if name is not None))
    build = None if network is None else load_reference(network, "--network")
    with stage_progress() as on_progress:
        collection = from_state_dicts(
            folder,
            build,
            columns,
            skip_bad=skip_bad,
            on_progress=lambda done, total: on_progress("reading", done, total),
        )
        result = predict(
            target,
            collection,
            group=group,
            task=task,
            seeds=seeds,
            skip_bad=skip_bad,
            on_progress=on_progress,
        )
    _print_result(result)
    if plot is not None:
        plot_prediction(result, plot)
        print(f"Picture: {plot}")
    write_json(json, result.to_json())


def _print_result(result: Prediction) -> None:
    train, validation, test = result.networks
    table = Table(
        "score",
        "test networks",
        title=f"{result.task} of {result.target}: {train} networks for training, {validation} for "
        f"validation, {test} for testing, of {result.architectures} architectures",
    )
    for name in result.scores:
        spread = f" ± {result.std(name):.2g}" if len(result.scores[name]) > 1 else ""
        table.add_row(name, f"{result.mean(name):.4g}{spread}")
    Console().print(table)
    if result.skipped:
        print(f"Skipped {len(result.skipped)}:")
        for name, reason in list(result.skipped.items())[:_SHOWN]:
            print(f"  {name} {reason}")
        if len(result.skipped) > _SHOWN:
            print(f"  and {len(result.skipped) - _SHOWN} more; --json has all")
