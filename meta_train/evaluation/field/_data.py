"""What tasks are made of: arrays from the folder NFN_DATA, and what packages and Python carry.

None of it is meta-trained on but the digits. Everything is read once in a process; treat tensors as
read-only.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...tasks import load_data
from ._problem import Split

MANUAL = "python_manual"

_PARTS = ("train", "test")
_TEST_IMAGES = 1_000
_TEST_PART = 0.2  # of a table
_CLIP = 5.0  # standard deviations


def held_out_file(name: str) -> Path:
    """Where a file of the field is.

    Raises:
        FileNotFoundError: If it is not there.
    """
    folder = Path(os.environ.get("NFN_DATA", "data"))
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"the field needs {name}, and {folder} has no such file. Point NFN_DATA to the folder "
            "of held-out data that docs/evaluation.md describes, or choose other tasks."
        )
    return path


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file."""
    with np.load(held_out_file(name), allow_pickle=False) as file:
        return dict(file)


@cache
def images(name: str, size: int = 28) -> Split:
    """Gray images `(n, 1, size, size)` in [0, 1] and their labels; at most 1,000 are held out."""
    if name in ("digits", "fashion_mnist"):
        data = load_data(name)
        x_train, x_test, y_train, y_test = data.x_train, data.x_test, data.y_train, data.y_test
    else:
        file = arrays(f"images/{name}.npz")
        x_train, x_test = (torch.from_numpy(file[f"x_{k}"])[:, None] / 255 for k in _PARTS)
        y_train, y_test = (torch.from_numpy(file[f"y_{k}"]).long() for k in _PARTS)
    some = torch.randperm(len(y_test), generator=torch.Generator().manual_seed(0))[:_TEST_IMAGES]
    x_train, x_test = (F.adaptive_avg_pool2d(x, size) for x in (x_train, x_test[some]))
    return Split((x_train, y_train), (x_test, y_test[some]))


@cache
def signals(name: str) -> Split:
    """Series `(n, time, channels)` and their labels."""
    file = arrays(f"signals/{name}.npz")
    train, test = (
        (torch.from_numpy(file[f"x_{k}"]), torch.from_numpy(file[f"y_{k}"]).long()) for k in _PARTS
    )
    return Split(*((x if x.dim() == 3 else x[..., None], y) for x, y in (train, test)))


@cache
def table(name: str) -> Split:
    """Standardized columns `(n, columns)`, clipped, with labels or targets `(n, 1)`, standardized.

    A fifth of the rows is held out.
    """
    file = arrays(f"tables/{name}.npz")
    x, y = torch.from_numpy(file["x"]), torch.from_numpy(file["y"])
    x = standardized(x).clamp(-_CLIP, _CLIP)
    y = standardized(y[:, None]) if y.is_floating_point() else y.long()
    return shuffled_split(x, y)


def standardized(columns: Tensor) -> Tensor:
    """Columns of mean zero and standard deviation one; constant ones stay zero."""
    return (columns - columns.mean(0)) / columns.std(0).clamp(min=1e-8)


def shuffled_split(x: Tensor, y: Tensor) -> Split:
    """Samples in a fixed random order, of which the last fifth is held out."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    cut = int(len(x) * (1 - _TEST_PART))
    train, test = order[:cut], order[cut:]
    return Split((x[train], y[train]), (x[test], y[test]))


@cache
def text(name: str) -> tuple[Tensor, Tensor, int]:
    """Character indices for training and, the last tenth, held out; and how many symbols."""
    content = _manual() if name == MANUAL else held_out_file(f"text/{name}.txt").read_text()
    symbols = sorted(set(content))
    index = {symbol: i for i, symbol in enumerate(symbols)}
    codes = torch.tensor([index[symbol] for symbol in content])
    cut = int(0.9 * len(codes))
    return codes[:cut], codes[cut:], len(symbols)


def _manual() -> str:
    """What `help()` shows of the language: English with examples, about 460,000 characters."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


@cache
def photograph(name: str) -> Tensor:
    """One of scikit-learn's two photographs, `(3, 427, 640)` in [0, 1]."""
    from sklearn.datasets import load_sample_image

    return torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1) / 255
