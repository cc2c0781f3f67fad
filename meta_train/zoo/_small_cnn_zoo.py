"""The published Small CNN Zoo (Unterthiner et al., 2020): its files as a `Zoo`.

Shape legend: `n` networks (rows of the files), 4,970 parameters each.
"""

from __future__ import annotations

import ast
import csv
import gzip
import random
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nfn_optim import NetworkSpec

from ..tasks import Params
from ._classifiers import small_cnn
from ._files import Zoo

WEIGHTS, METRICS, LAYOUT = "weights.npy", "metrics.csv.gz", "layout.csv"
SPLITS = ("train", "validation", "test")
_SOURCE = (
    f"Give the unpacked folder of one data set of the Small CNN Zoo, with {WEIGHTS}, {METRICS} "
    f"and {LAYOUT}."
)
_LAYERS = {"conv2d": "0", "conv2d_1": "2", "conv2d_2": "4", "dense": "8"}  # of small_cnn
_KINDS = {"kernel": "weight", "bias": "bias"}
_NUMBERS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_accuracy",
    "test_loss": "test_loss",
    "test_accuracy": "test_accuracy",
    "lr": "config.learning_rate",
    "l2": "config.l2reg",
    "init_std": "config.init_std",
    "dropout": "config.dropout",
    "train_fraction": "config.train_fraction",
}
_WORDS = {
    "activation": "config.activation",
    "optimizer": "config.optimizer",
    "w_init": "config.w_init",
}


Layout = dict[str, tuple[slice, tuple[int, ...]]]
Metrics = dict[str, Any]


def read_small_cnn_zoo(
    folder: str | Path, *, step: int | None = 86, order: str | Path | None = None
) -> Zoo:
    """Reads one data set of the published zoo, split as NFN's reference code splits it.

    Half of the networks are for testing; a fifth of the others is for validation.

    Args:
        folder: With `weights.npy`, `metrics.csv.gz` and `layout.csv`.
        step: Which checkpoint, by its epoch; 86 is the last one, None reads all.
        order: A file with one row number a line that orders the rows before they are split, such
            as the reference's `cifar10_split.csv`; without, they are shuffled with a fixed seed.

    Returns:
        Networks with the layout of `small_cnn()` and the labels `test_accuracy`, `test_loss`,
        `train_accuracy`, `train_loss`, `step`, `lr`, `l2`, `init_std`, `dropout`, `train_fraction`,
        `activation`, `optimizer`, `w_init` and `split`. Networks with weights that are not finite
        are left out.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is truncated, or laid out differently.
    """
    folder = Path(folder)
    for name in (WEIGHTS, METRICS, LAYOUT):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing. {_SOURCE}")
    spec = NetworkSpec.from_module(small_cnn())
    layout = _read_layout(folder / LAYOUT, spec)
    metrics = _read_metrics(folder / METRICS)
    weights = _read_weights(folder / WEIGHTS, (len(metrics), spec.num_entries))
    rows = _order(order, len(metrics))
    if step is not None:
        rows = [row for row in rows if metrics[row]["step"] == step]
    rows = [row for row in rows if np.isfinite(weights[row]).all()]
    if not rows:
        raise ValueError(f"{folder / METRICS} has no network at step {step}. Give another step.")
    labels, categories = _labels([metrics[row] for row in rows])
    return Zoo.from_params(
        spec,
        _params(torch.from_numpy(weights[rows]), layout),
        labels={**labels, "split": _split(len(rows))},
        categories={**categories, "split": SPLITS},
        info={"what": "Small CNN Zoo", "data": folder.name, "step": step},
    )


def _invalid(path: Path | str, problem: object) -> ValueError:
    return ValueError(f"{path} is truncated or not of the Small CNN Zoo: {problem}. {_SOURCE}")


def _read_layout(path: Path, spec: NetworkSpec) -> Layout:
    """Where in a row each parameter is, and in which shape."""
    layout: Layout = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                layer, kind = row["varname"].removesuffix(":0").split("/")[-2:]
                name = f"{_LAYERS[layer]}.{_KINDS[kind]}"
                place = slice(int(row["start_idx"]), int(row["end_idx"]))
                layout[name] = place, tuple(ast.literal_eval(row["shape"]))
    except (KeyError, ValueError, SyntaxError, TypeError, csv.Error) as error:
        raise _invalid(path, f"{type(error).__name__} {error}") from error
    expected = {name: _as_keras(shape) for name, shape in spec.stored.items()}
    shapes = {name: shape for name, (_, shape) in layout.items()}
    sizes = {name: place.stop - place.start for name, (place, _) in layout.items()}
    if shapes != expected or any(size != prod(shapes[name]) for name, size in sizes.items()):
        raise _invalid(path, f"it describes {shapes}, not {expected}")
    return layout


def _read_metrics(path: Path) -> list[Metrics]:
    """What is known of each network: numbers, and words for categories."""
    try:
        with gzip.open(path, "rt", newline="") as file:
            reader = csv.DictReader(file)
            missing = {*_NUMBERS.values(), *_WORDS.values()} - set(reader.fieldnames or ())
            if missing:
                raise _invalid(path, f"it has no column {', '.join(sorted(missing))}")
            return [_read_row(row, f"{path}, line {reader.line_num},") for row in reader]
    except (EOFError, OSError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise _invalid(path, error) from error


def _read_row(row: Mapping[str, str | None], place: str) -> Metrics:
    known: Metrics = {name: row[column] for name, column in _WORDS.items()}
    if None in known.values():
        raise _invalid(place, "its end is missing")
    for name, column in _NUMBERS.items():
        try:
            known[name] = float(row[column] or "")
        except ValueError as error:
            raise _invalid(place, f"{column} is {row[column]!r}, no number") from error
    return known


def _read_weights(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """All rows, on disk until they are used."""
    try:
        weights = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _invalid(path, error) from error
    if weights.shape != shape or weights.dtype.kind != "f":
        raise _invalid(
            path,
            f"it holds {weights.dtype} numbers of the shape {weights.shape}; {METRICS} and a small "
            f"CNN have {shape}",
        )
    return weights


def _order(path: str | Path | None, total: int) -> list[int]:
    """Row numbers in the order that is split."""
    if path is None:
        rows = list(range(total))
        random.Random(0).shuffle(rows)
        return rows
    try:
        lines = Path(path).read_text().split()
        rows = list(map(int, lines))
    except ValueError as error:
        raise ValueError(f"{path} is no list of row numbers: {error}.") from error
    # The reference's files begin with a header, 0, that is no row.
    rows = rows[1:] if len(rows) == total + 1 else rows
    if sorted(rows) != list(range(total)):
        raise ValueError(
            f"{path} does not name each of the {total} rows once. Give the file of this data set."
        )
    return rows


def _split(n: int) -> Tensor:
    """Which part each network is in, as the reference draws it."""
    first = list(range(n // 2))
    random.Random(0).shuffle(first)
    split = torch.full((n,), SPLITS.index("test"))
    split[first[: int(0.8 * len(first))]] = SPLITS.index("train")
    split[first[int(0.8 * len(first)) :]] = SPLITS.index("validation")
    return split


def _labels(metrics: list[Metrics]) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """Numbers by name, and what those of categories mean."""
    labels = {name: torch.tensor([row[name] for row in metrics]) for name in _NUMBERS}
    labels["step"] = labels["step"].long()
    categories = {name: tuple(sorted({row[name] for row in metrics})) for name in _WORDS}
    for name, values in categories.items():
        labels[name] = torch.tensor([values.index(row[name]) for row in metrics])
    return labels, categories


def _params(weights: Tensor, layout: Layout) -> Params:
    """Rows `(n, 4970)` as parameters `(n, *stored)`; Keras keeps outputs on the last axis."""
    params = {}
    for name, (place, shape) in layout.items():
        tensor = weights[:, place].reshape(-1, *shape)
        axes = {4: (0, 4, 3, 1, 2), 2: (0, 2, 1), 1: (0, 1)}[len(shape)]
        params[name] = tensor.permute(axes).contiguous()
    return params


def _as_keras(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in Keras of what torch stores as `shape`."""
    return (*shape[2:], *reversed(shape[:2]))
