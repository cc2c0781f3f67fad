"""Runs a suite: checks everything, makes the data, trains and tests every method."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from nfn_optim import NetworkSpec

from ..support import Observer, check_overwrite, find_device, fingerprint
from ..tasks import Dataset
from ._registry import SUITES
from .harness import (
    Data,
    MethodResult,
    Outcome,
    Size,
    Suite,
    SuiteProgress,
    SuiteResult,
    check_methods,
    choose,
    entrants,
)


def run_suite(
    name: str,
    *,
    build: Callable[[NetworkSpec], nn.Module] | None = None,
    methods: Sequence[str] | None = None,
    data: Data | None = None,
    size: str | Size = "small",
    num_seeds: int | None = None,
    device: str = "cpu",
    out: Path | None = None,
    on_progress: Observer = lambda work: None,
) -> SuiteResult:
    """Runs one of the paper's tasks on its methods or on a network of one's own.

    Data and outcomes are kept in the cache, so a second run starts at once and an interrupted one
    goes on.

    Main arguments:
        name: Which suite; `nfn-optim suite list` lists them.
        build: Makes a network from the spec of the networks that it reads; it is tried on two of
            them before anything long. Its result is called `yours`.
        methods: Which of the size's methods to run; without, all of them, or none beside `build`.
        data: The name of a data set, images `(n, c, h, w)` or `(n, h, w, c)` of one's own with
            labels, or a folder of one's own shapes or networks; the size's own data set without.
        size: `tiny`, a smoke test whose figures are not to be compared, `small` or `paper`, or a
            configuration of the suite's type.

    Other arguments:
        num_seeds: Networks trained a method; the size's own number without.
        device: Where networks are trained, as torch names it.
        out: Folder for a picture, where the suite has one; none without. A picture that cannot be
            drawn in the end is only warned of.
        on_progress: Told of all work as it goes on: what is running, what is done of all, the last
            figures, the time that is left. `print` shows it.

    Raises:
        ValueError: If there is no such suite, method, data set, size or device, or the network does
            not fit the suite.
        FileNotFoundError: If the data set is not on this machine and cannot be downloaded, or there
            is no such folder.
        OSError: If `out` cannot be written to.
    """
    suite = SUITES[choose("suite", name, SUITES)]
    size_name, config = _find_size(suite, size)
    names = check_methods(suite, config, methods, alone=build is None)
    data_name, source = _find_data(suite, config.data if data is None else data)
    seeds = range(config.num_seeds if num_seeds is None else num_seeds)
    if not seeds:
        raise ValueError(f"a suite needs at least one seed; got {num_seeds}.")
    target = find_device(device)
    picture = None
    if suite.plot is not None and out is not None:
        picture = Path(out) / f"{suite.name}-{data_name}-{size_name}.png"
        check_overwrite(picture)
    tried = entrants(suite, config, suite.interface(config, source), target, build, names)
    told = SuiteProgress(on_progress, suite.metric, len(seeds))
    for method, entrant in tried.items():
        entrant.prepare(seeds[0])  # mistakes show before the long work
        told.plan(method, entrant.forecast(seeds[0], config.fit))
    with told.data():
        experiment = suite.prepare(config, source, target, told.on_data)
    digest = fingerprint(experiment.run, *suite.references.values())
    outcomes = {
        method: [
            told.run(method, seed, partial(entrant.run, experiment, digest, seed)) for seed in seeds
        ]
        for method, entrant in tried.items()
    }
    by_seed = [
        dict(zip(outcomes, each, strict=True)) for each in zip(*outcomes.values(), strict=True)
    ]
    return SuiteResult(
        suite=suite.name,
        size=size_name,
        data=data_name,
        metric=suite.metric,
        num_seeds=len(seeds),
        methods={
            method: MethodResult.of(several, _more(suite, experiment, several, by_seed))
            for method, several in outcomes.items()
        },
        paper=(suite.paper if config.paper is None else config.paper).get(data_name, {}),
        picture=_plot(suite, experiment, outcomes, picture),
    )


def _more(
    suite: Suite[Any, Any],
    experiment: Any,
    reached: Sequence[Outcome],
    by_seed: Sequence[Mapping[str, Outcome]],
) -> dict[str, list[float]]:
    """Further metrics of what one method reached, one a seed; `by_seed` has all methods."""
    more = {name: [of(experiment, each) for each in reached] for name, of in suite.more.items()}
    beside = {
        name: [of(each, others) for each, others in zip(reached, by_seed, strict=True)]
        for name, of in suite.beside.items()
    }
    return more | beside


def _find_size(suite: Suite[Any, Any], size: str | Size) -> tuple[str, Any]:
    """The name of a size, and its settings."""
    if isinstance(size, str):
        return size, suite.sizes[choose("size", size, suite.sizes)]
    kinds = tuple(dict.fromkeys(map(type, suite.sizes.values())))
    if not isinstance(size, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(
            f"{suite.name} needs a size of the type {names}; got {type(size).__name__}. "
            "Take one of the suite's and change it by dataclasses.replace."
        )
    return "custom", size


def _find_data(suite: Suite[Any, Any], data: Data) -> tuple[str, Data]:
    """The name of the data, and the data; a string that names no data set may name a folder.

    A folder counts under its own name; with the name of a data set, as that data set.

    Raises:
        ValueError: If there is no such data set, or it is a file.
        FileNotFoundError: If there is no such folder.
    """
    if isinstance(data, str) and (data in suite.data or not Path(data).is_dir()):
        return choose("data set", data, suite.data), data
    if isinstance(data, Dataset):
        return "custom", data
    if not isinstance(data, (str, Path)):
        raise ValueError(
            f"data must be a name, a meta_train.tasks.Dataset or a folder; got a "
            f"{type(data).__name__}."
        )
    folder = Path(data)
    if not folder.exists():
        raise FileNotFoundError(
            f"the folder {folder} does not exist. Give one that does, or the name of a data set as "
            f"a string: {', '.join(suite.data)}."
        )
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file. Give the folder that it is in.")
    return folder.resolve().name, folder


def _plot(
    suite: Suite[Any, Any],
    experiment: Any,
    outcomes: Mapping[str, Sequence[Outcome]],
    path: Path | None,
) -> Path | None:
    """Draws the picture and returns its path; a failure only warns, as numbers do not need it."""
    if suite.plot is None or path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        suite.plot(experiment, {method: several[0] for method, several in outcomes.items()}, path)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"the picture {path} could not be drawn: {reason}", stacklevel=3)
        return None
    return path
