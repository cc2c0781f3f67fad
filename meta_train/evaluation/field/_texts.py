"""Next characters: transformers on source code and on Python's manual, an LSTM on a genome."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._data import MANUAL, text
from ._problem import Batch, Problem, held_out_loss
from ._transformers import GPT

_HELD_OUT = 64  # pieces


def gpt_64(generator: torch.Generator) -> Problem:
    """Source code, 64 channels, pieces of 64 characters."""
    return next_characters("python_stdlib_code", lambda n: GPT(n, 64), generator, batch=8)


def gpt_manual(generator: torch.Generator) -> Problem:
    """Python's manual, 64 channels, pieces of 64 characters."""
    return next_characters(MANUAL, lambda n: GPT(n, 64), generator, batch=8)


def gpt_256(generator: torch.Generator) -> Problem:
    """Source code, 256 channels, pieces of 32 characters."""
    make = lambda n: GPT(n, 256, length=32)  # noqa: E731
    return next_characters("python_stdlib_code", make, generator, batch=4, length=32)


def lstm(generator: torch.Generator) -> Problem:
    """The genome of Vibrio cholerae, 64 units, pieces of 32 characters."""
    make = lambda n: _LSTM(n, 64)  # noqa: E731
    return next_characters("dna_vibrio_cholerae", make, generator, batch=32, length=32)


def next_characters(
    name: str,
    make: Callable[[int], nn.Module],
    generator: torch.Generator,
    *,
    batch: int,
    length: int = 64,
) -> Problem:
    """Cross-entropy of the next character, on pieces from random places of a text.

    Args:
        name: Which text.
        make: The network for a number of symbols.
        generator: Draws the places.
        batch: Pieces a step.
        length: Characters of a piece.
    """
    train, test, symbols = text(name)
    held_out = next(pieces(test, _HELD_OUT, length, torch.Generator().manual_seed(0)))
    score = held_out_loss(character_loss, held_out)
    return Problem(make(symbols), pieces(train, batch, length, generator), character_loss, score)


def pieces(codes: Tensor, size: int, length: int, generator: torch.Generator) -> Iterator[Batch]:
    """Batches `(size, length + 1)` of consecutive characters, without end."""
    while True:
        start = torch.randint(len(codes) - length, (size, 1), generator=generator)
        yield codes[start + torch.arange(length + 1)]


def character_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """Cross-entropy of every next character."""
    return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


class _LSTM(nn.Module):
    """One layer between an embedding and a head."""

    def __init__(self, symbols: int, dim: int) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(symbols, dim), nn.Linear(dim, symbols)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.tokens(x))[0])
