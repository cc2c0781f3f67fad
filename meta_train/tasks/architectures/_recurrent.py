"""Recurrent networks, for series and for characters.

Shape legend: `b` samples, `t` steps, `d` units.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .._draw import Dice
from ._layers import Builder

_CELLS: tuple[type[nn.LSTM] | type[nn.GRU] | type[nn.RNN], ...] = (nn.LSTM, nn.LSTM, nn.GRU, nn.RNN)


class _Recurrent(nn.Module):
    """Embeds every step, runs the cells, and reads each step's output."""

    def __init__(self, embed: nn.Module, cells: nn.RNNBase, outputs: int) -> None:
        super().__init__()
        self.embed, self.cells = embed, cells
        self.head = nn.Linear(cells.hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.cells(self.embed(x))[0])
        return y


class _LastStep(_Recurrent):
    """The same, of the last step alone."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.cells(self.embed(x))[0][:, -1])
        return y


def draw_recurrent(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """One or two layers of cells over a series.

    Args:
        dice: Makes the choices.
        sample: One series `(1, t, c)`.
        outputs: How many outputs the network has.
    """
    cells = _draw_cells(dice)
    return lambda: _LastStep(nn.Identity(), cells(sample.shape[2]), outputs)


def draw_character_rnn(dice: Dice, sample: Tensor, symbols: int) -> Builder:
    """One or two layers of cells between an embedding and a head.

    Args:
        dice: Makes the choices.
        sample: One piece of text `(1, t)`, indices.
        symbols: How many symbols there are.
    """
    cells, dim = _draw_cells(dice), dice.size(8, 128)
    return lambda: _Recurrent(nn.Embedding(symbols, dim), cells(dim), symbols)


def _draw_cells(dice: Dice) -> Callable[[int], nn.RNNBase]:
    """Makes the cells for a number of channels."""
    cell, units, layers = dice.choice(_CELLS), dice.size(16, 256), dice.choice((1, 1, 2))
    return lambda channels: cell(channels, units, num_layers=layers, batch_first=True)
