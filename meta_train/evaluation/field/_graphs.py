"""A graph network that finds the communities of a synthetic block model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._problem import Batch, Problem

_NODES, _BLOCKS = 60, 4
_WITHIN, _BETWEEN = 0.3, 0.05  # chance of an edge


def communities(generator: torch.Generator) -> Problem:
    """Every node's block, from noisy hints and its neighbors: a new graph at every step."""
    held_out = next(_graphs(torch.Generator().manual_seed(0)))

    def score(model: nn.Module) -> Mapping[str, float]:
        adjacency, hints, blocks = held_out
        found = model(adjacency, hints).argmax(-1)
        return {"test_accuracy": (found == blocks).float().mean().item()}

    return Problem(_GraphNet(48), _graphs(generator), _loss, score)


class _GraphNet(nn.Module):
    """Three rounds in which nodes average their neighbors."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = (_BLOCKS, dim, dim)
        self.own = nn.ModuleList(nn.Linear(n, dim) for n in widths)
        self.neighbors = nn.ModuleList(nn.Linear(n, dim, bias=False) for n in widths)
        self.head = nn.Linear(dim, _BLOCKS)

    def forward(self, adjacency: Tensor, x: Tensor) -> Tensor:
        average = adjacency / adjacency.sum(-1, keepdim=True).clamp(min=1)
        for own, neighbors in zip(self.own, self.neighbors, strict=True):
            x = F.relu(own(x) + neighbors(average @ x))
        return self.head(x)


def _graphs(generator: torch.Generator, size: int = 8) -> Iterator[Batch]:
    """Adjacency `(b, n, n)`, hints `(b, n, blocks)`, of which most are wrong, and blocks."""
    while True:
        blocks = torch.randint(_BLOCKS, (size, _NODES), generator=generator)
        same = blocks[:, :, None] == blocks[:, None, :]
        chance = torch.where(same, _WITHIN, _BETWEEN)
        edges = (torch.rand(chance.shape, generator=generator) < chance).float().triu(1)
        noise = torch.randn(size, _NODES, _BLOCKS, generator=generator)
        yield edges + edges.mT, F.one_hot(blocks, _BLOCKS) + 2 * noise, blocks


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    adjacency, hints, blocks = batch
    return F.cross_entropy(model(adjacency, hints).flatten(0, 1), blocks.flatten())
