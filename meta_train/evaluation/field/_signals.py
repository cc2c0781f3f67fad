"""Classifiers of time series: recurrent, attention, convolutions.

Shape legend: `b` series, `t` points in time, `c` channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._data import signals
from ._problem import Problem, classification


def gru(generator: torch.Generator) -> Problem:
    """Speakers of Japanese vowels, a GRU of 48 units."""
    return classification(_GRU(12, 48, 9), signals("japanese_vowels"), generator, batch=32)


def transformer(generator: torch.Generator) -> Problem:
    """Speakers of Japanese vowels, PyTorch's own encoder."""
    return classification(_Encoder(12, 25, 9), signals("japanese_vowels"), generator, batch=32)


def cnn_1d(generator: torch.Generator) -> Problem:
    """Electric devices by their consumption, three convolutions over time."""
    widths = ((1, 16), (16, 32), (32, 64))
    layers = [
        layer
        for n_in, n_out in widths
        for layer in (nn.Conv1d(n_in, n_out, 5, stride=2, padding=2), nn.ReLU())
    ]
    model = nn.Sequential(_ChannelsFirst(), *layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    model.append(nn.Linear(64, 7))
    return classification(model, signals("ucr_electricdevices"), generator)


class _ChannelsFirst(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mT  # (b, t, c) to (b, c, t)


class _GRU(nn.Module):
    def __init__(self, channels: int, dim: int, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, dim, batch_first=True)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0][:, -1])


class _Encoder(nn.Module):
    def __init__(self, channels: int, length: int, classes: int, dim: int = 48) -> None:
        super().__init__()
        self.embed, self.positions = nn.Linear(channels, dim), nn.Embedding(length, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x) + self.positions.weight).mean(1))
