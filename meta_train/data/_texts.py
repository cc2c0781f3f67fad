"""Texts as indices of characters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ._files import data_file


@dataclass(frozen=True, eq=False)
class Text:
    """A text, character by character.

    Args:
        codes: Index of every character among the symbols, int64 `(n,)`.
        symbols: The characters that occur, sorted.
    """

    codes: Tensor
    symbols: str


def load_text(name: str) -> Text:
    """Loads a text from `$NFN_DATA/text/<name>.txt`; once in a process.

    Args:
        name: Which text, e.g. `tinyshakespeare_en`.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    return _read(data_file(f"text/{name}.txt"))


@cache
def _read(path: Path) -> Text:
    content = path.read_text(encoding="utf-8")
    symbols = "".join(sorted(set(content)))
    index = {symbol: i for i, symbol in enumerate(symbols)}
    return Text(torch.tensor([index[symbol] for symbol in content]), symbols)
