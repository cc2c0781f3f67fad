"""Tables: rows of measured columns, with a class or a number to predict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ._files import data_file, read_arrays


@dataclass(frozen=True, eq=False)
class Table:
    """Rows as they were measured.

    Args:
        x: Columns, float32 `(n, d)`, not standardized.
        y: Classes, int64 `(n,)`, or numbers, float32 `(n,)`.
    """

    x: Tensor
    y: Tensor


def load_table(name: str) -> Table:
    """Loads a table from `$NFN_DATA/tables/<name>.npz`.

    A file has float32 `x` of the shape `(n, d)`, and `y` of the shape `(n,)`: integers are classes
    and floats are numbers. Read once in a process; treat the tensors as read-only.

    Args:
        name: Which table, e.g. `c_adult`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or laid out differently.
    """
    return _read(data_file(f"tables/{name}.npz"))


@cache
def _read(path: Path) -> Table:
    arrays = read_arrays(path)
    if not {"x", "y"} <= arrays.keys():
        raise ValueError(f"{path} has arrays {', '.join(arrays)}; a table has x and y.")
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    if x.dim() != 2 or y.shape != x.shape[:1]:
        raise ValueError(
            f"{path} has x of the shape {tuple(x.shape)} and y of the shape {tuple(y.shape)}. "
            "Expected (n, d) and (n,)."
        )
    return Table(x.float(), y.float() if y.is_floating_point() else y.long())
