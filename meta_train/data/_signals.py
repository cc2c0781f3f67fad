"""Signals: labelled series of one length, and long series to forecast.

Shape legend: `n` series, `t` points in time, `c` channels.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ._files import data_file, read_arrays
from ._images import Dataset
from ._roles import SERIES, SMALL_SIGNALS
from ._sources import KEYS


def load_signals(name: str) -> Dataset:
    """Loads labelled series `(n, t, c)` from `$NFN_DATA/signals`; once in a process.

    Spectrograms, which are stored as uint8 `(n, c, t)`, come in [0, 1].

    Args:
        name: Which: that of a file, or of one of the sets in `ucr_small15.npz`.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If the file is damaged or lacks an array.
    """
    small = name in SMALL_SIGNALS
    path = data_file(f"signals/{'ucr_small15' if small else name}.npz")
    return _read_labelled(path, f"{name}/" if small else "")


def load_series(name: str) -> Tensor:
    """Loads one long series `(t, c)` of `$NFN_DATA/signals/series_mixed.npz`; once in a process.

    Gaps are closed by straight lines.

    Args:
        name: Which, e.g. `monthly_sunspots`.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If there is no such series.
    """
    if name not in SERIES:
        raise ValueError(f"there is no series {name!r}. Choose one of {', '.join(SERIES)}.")
    return _read_series(data_file("signals/series_mixed.npz"), name)


@cache
def _read_labelled(path: Path, prefix: str) -> Dataset:
    arrays = read_arrays(path)
    missing = [key for key in KEYS if prefix + key not in arrays]
    if missing:
        raise ValueError(f"{path} has no array {prefix}{missing[0]}. It needs {', '.join(KEYS)}.")
    x_train, y_train, x_test, y_test = (torch.from_numpy(arrays[prefix + key]) for key in KEYS)
    return Dataset(_series(x_train), y_train.long(), _series(x_test), y_test.long())


def _series(x: Tensor) -> Tensor:
    if x.dim() == 2:
        return x.float()[..., None]
    return x.mT.float() / 255 if x.dtype == torch.uint8 else x.float()


@cache
def _read_series(path: Path, name: str) -> Tensor:
    columns = read_arrays(path)[name].astype(np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    for column in columns.T:
        gap, at = np.isnan(column), np.arange(len(column))
        column[gap] = np.interp(at[gap], at[~gap], column[~gap])
    return torch.from_numpy(columns).float()
