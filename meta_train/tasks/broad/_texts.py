"""Next characters: of texts, and of random languages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data import TEXTS, load_text
from .._base import Task, TaskFamily
from .._draw import Dice
from .._samples import Split
from ..architectures import USUAL, Budget
from ._pose import Architecture, pose

_MIN_LENGTH, _MAX_LENGTH = 8, 48


@dataclass(frozen=True)
class NextCharacters(TaskFamily):
    """The next character at every place of a piece of text; the last tenth is held out.

    Attributes:
        architecture: Draws the network.
        data: Names of texts, as for `load_text`; read when a task is drawn from them.
        budget: What a network may cost.
    """

    architecture: Architecture
    data: tuple[str, ...] = TEXTS
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a text, the length of pieces, an architecture and how it is trained."""
        dice = Dice(generator)
        text = load_text(dice.choice(self.data))
        cut = len(text.codes) * 9 // 10
        train, held = text.codes[: dice.size(min(20_000, cut), cut)], text.codes[cut:]
        return _reader(dice, self.architecture, train, held, len(text.symbols), self.budget)


@dataclass(frozen=True)
class Languages(TaskFamily):
    """The next symbol of a random chain, in which the last two symbols decide the chances.

    Attributes:
        architecture: Draws the network.
        budget: What a network may cost.
    """

    architecture: Architecture
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a language, the length of pieces, an architecture and how it is trained."""
        dice = Dice(generator)
        symbols = dice.size(3, 40)
        logits = torch.randn(symbols, symbols, symbols, generator=generator)
        chances = (dice.log_uniform(0.5, 4) * logits).softmax(-1)
        codes = _spoken(dice, chances, speakers=1_024, length=24)
        cut = len(codes) * 9 // 10
        return _reader(dice, self.architecture, codes[:cut], codes[cut:], symbols, self.budget)


def next_character_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits `(b, t, symbols)` and targets `(b, t)`."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _reader(
    dice: Dice,
    architecture: Architecture,
    train: Tensor,
    held: Tensor,
    symbols: int,
    budget: Budget,
) -> Task:
    length = dice.size(_MIN_LENGTH, _MAX_LENGTH)
    data = Split(*_pieces(train, length), *_pieces(held, length))
    return pose(
        dice, lambda d: architecture(d, data.inputs[:1], symbols), data, next_character_loss, budget
    )


def _pieces(codes: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Every piece, and the characters that come next, as views `(n, length)`."""
    pieces = codes.unfold(0, length + 1, 1)
    return pieces[:, :-1], pieces[:, 1:]


def _spoken(dice: Dice, chances: Tensor, *, speakers: int, length: int) -> Tensor:
    """What many speakers say at once, one after another."""
    said = list(torch.randint(len(chances), (2, speakers), generator=dice.generator).unbind())
    for _ in range(length):
        drawn = torch.multinomial(chances[said[-2], said[-1]], 1, generator=dice.generator)
        said.append(drawn[:, 0])
    return torch.stack(said[2:], 1).flatten()
