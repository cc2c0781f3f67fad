"""The command `nfn-optim zoo`: reads properties of networks that a user has trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from ._console import figures, long_work, print_table, use_threads, write_json

if TYPE_CHECKING:
    from ..prediction import Prediction, Readers, Reading
    from ..support import Display, Work
    from ..zoo import Collection

T = TypeVar("T")
_SHOWN = 10  # networks


def zoo(
    action: Annotated[Literal["predict", "apply"], tyro.conf.Positional],
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    labels: Path | None = None,
    target: str | None = None,
    readers: Path | None = None,
    group: str | None = None,
    task: Literal["regression", "classification"] | None = None,
    network: str | None = None,
    seeds: int = 3,
    threads: int = 1,
    skip_bad: bool = False,
    plot: Path | None = None,
    save: Path | None = None,
    plain: bool = False,
    json: Path | None = None,
) -> None:
    """Predicts a property of networks from their weights: `zoo predict FOLDER`.

    `zoo apply FOLDER --readers FILE` predicts it for other networks, with what `zoo predict --save
    FILE` has trained.

    Args:
        action: What to do: `predict` or `apply`.
        folder: With state dicts (.pt, .pth, .bin, .safetensors), or folders with config.json and
            model.safetensors; of any widths and depths. Or a folder that save_zoo wrote, which
            holds its labels.
        labels: For `predict`: a table, CSV or Parquet, with a row a network. The column `network`,
            `name`, `file` or `path`, else the first, names files in the folder.
        target: For `predict`: which column to predict. Strings and integers with few different
            values are classes, other numbers are not.
        readers: For `apply`: a file that `zoo predict --save` wrote.
        group: A column; networks with equal values are not split between training and testing.
        task: What the target is, where the column's values should not decide.
        network: `module:function` that makes a module from the content of config.json; without,
            every network must be a chain of layers whose order is certain, such as an MLP.
        seeds: How many splits and readers.
        threads: Intra-op threads.
        skip_bad: Leaves out networks that cannot be used, and says which, instead of an error.
        plot: Where to write a picture (PNG).
        save: Where to write the readers, for `apply`.
        plain: Print a line now and then instead of a picture that moves, in a terminal, too.
        json: Where to write scores and all predictions.
    """
    from ..support import load_reference

    use_threads(threads)
    build = None if network is None else load_reference(network, "--network")
    files = ", ".join(str(path) for path in (plot, save, json) if path is not None)
    show = long_work(files, kept="Nothing is kept.", plain=plain)
    if action == "apply":
        _refuse(action, labels=labels, target=target, group=group, task=task, plot=plot, save=save)
        _apply(folder, _needed(readers, "apply", "--readers"), build, skip_bad, show, json)
    else:
        _refuse(action, readers=readers)
        options = _Options(_needed(target, "predict", "--target"), group, task, seeds, skip_bad)
        _predict(folder, labels, build, options, show, plot, save, json)


@dataclass(frozen=True)
class _Options:
    """What is predicted, and how."""

    target: str
    group: str | None
    task: Literal["regression", "classification"] | None
    seeds: int
    skip_bad: bool


def _predict(
    folder: Path,
    labels: Path | None,
    build: Any,
    options: _Options,
    show: AbstractContextManager[Display],
    plot: Path | None,
    save: Path | None,
    json: Path | None,
) -> None:
    from ..prediction import plot_prediction, predict
    from ..support import check_overwrite

    check_overwrite(plot, save, json)
    with show as display:
        collection = _labelled(folder, labels, build, options, _planned(display, "training"))
        result = predict(
            options.target,
            collection,
            group=options.group,
            task=options.task,
            seeds=options.seeds,
            skip_bad=options.skip_bad,
            on_progress=display,
        )
    _print_result(result)
    if plot is not None:
        plot_prediction(result, plot)
        print(f"Picture: {plot}")
    if save is not None:
        result.readers.save(save)
        print(f"Readers: {save}; use them with nfn-optim zoo apply FOLDER --readers {save}")
    write_json(json, result.to_json())


def _apply(
    folder: Path,
    file: Path,
    build: Any,
    skip_bad: bool,
    show: AbstractContextManager[Display],
    json: Path | None,
) -> None:
    from ..prediction import Readers
    from ..support import check_overwrite, clean

    check_overwrite(json)
    readers = Readers.load(file)
    with show as display:
        collection = _read(folder, None, build, skip_bad, _planned(display, "predicting"))
        collection, readings = readers.read(collection, skip_bad=skip_bad, on_progress=display)
    _print_readings(readers, readings)
    _print_skipped(collection.skipped)
    told = [asdict(reading) for reading in readings]
    content = {"target": readers.target, "classes": readers.classes, "networks": told}
    write_json(json, clean({**content, "skipped": dict(collection.skipped)}))


def _planned(display: Display, then: str) -> Work:
    """Work that reads files, before what is yet to be measured."""
    from ..support import Work

    work = Work(display)
    for stage in ("reading", then):
        work.plan(stage)
    return work


def _labelled(
    folder: Path, labels: Path | None, build: Any, options: _Options, work: Work
) -> Collection:
    """Networks and labels; a column that is missing is told of before files are read."""
    from ..zoo import check_columns, is_zoo, read_columns

    wanted = [name for name in (options.target, options.group) if name is not None]
    if is_zoo(folder):
        if labels is not None:
            raise ValueError(f"{folder} was written by save_zoo and has labels. Omit --labels.")
        collection = _read(folder, None, build, options.skip_bad, work)
        check_columns(collection.labels, *wanted)
        return collection
    columns = read_columns(_needed(labels, "predict", "--labels"))
    check_columns(columns, *wanted)
    return _read(folder, columns, build, options.skip_bad, work)


def _read(
    folder: Path,
    columns: Mapping[str, Sequence[Any]] | None,
    build: Any,
    skip_bad: bool,
    work: Work,
) -> Collection:
    from ..zoo import Collection, from_state_dicts, is_zoo, load_zoo

    work.begin("reading")
    if is_zoo(folder):
        return Collection.of(load_zoo(folder))
    on_file = partial(_on_file, work)
    return from_state_dicts(folder, build, columns, skip_bad=skip_bad, on_progress=on_file)


def _on_file(work: Work, done: int, total: int) -> None:
    work.plan("reading", total)
    work.tell("reading", done)


def _needed(value: T | None, action: str, option: str) -> T:
    if value is None:
        raise ValueError(f"zoo {action} needs {option}. See nfn-optim zoo --help.")
    return value


def _refuse(action: str, **options: object) -> None:
    """Refuses options of the other action."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"zoo {action} takes no --{name}. Leave it out.")


def _print_readings(readers: Readers, readings: Sequence[Reading]) -> None:
    count, last = len(readers.modules), ("chance",) if readers.classes else ()
    networks, by = _counted(len(readings), "network"), _counted(count, "reader")
    title = f"{readers.target} of {networks}, predicted by {by}"
    table = figures(title, "network", readers.target, "±", *last)
    for reading in readings[:_SHOWN]:
        said = reading.predicted
        shown = said if isinstance(said, str) else f"{said:.4g}"
        chance = () if reading.confidence is None else (f"{reading.confidence:.2f}",)
        table.add_row(reading.network, shown, f"{reading.spread:.2g}", *chance)
    print_table(table)
    if len(readings) > _SHOWN:
        print(f"and {len(readings) - _SHOWN} more; --json has all")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _print_result(result: Prediction) -> None:
    train, validation, test = result.networks
    title = (
        f"{result.task} of {result.target}: {train} networks for training, {validation} for "
        f"validation, {test} for testing, of {_counted(result.architectures, 'architecture')}"
    )
    table = figures(title, "score", "test networks")
    for name in result.scores:
        spread = f" ± {result.std(name):.2g}" if len(result.scores[name]) > 1 else ""
        table.add_row(name, f"{result.mean(name):.4g}{spread}")
    print_table(table)
    _print_skipped(result.skipped)


def _print_skipped(skipped: Mapping[str, str]) -> None:
    if skipped:
        print(f"Skipped {len(skipped)}:")
        for name, reason in list(skipped.items())[:_SHOWN]:
            print(f"  {name} {reason}")
        if len(skipped) > _SHOWN:
            print(f"  and {len(skipped) - _SHOWN} more; --json has all")
