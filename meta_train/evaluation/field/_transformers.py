"""Blocks that mix tokens, and the networks of them: for patches of images and for characters.

Shape legend: `b` samples, `t` tokens, `d` channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._data import images
from ._problem import Problem, classification


class Attention(nn.Module):
    """Self-attention of `heads` heads, causal on request."""

    def __init__(self, dim: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (b, heads, t, d / heads)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """A mixer of tokens, then an MLP on every token, each behind a layer norm."""

    def __init__(self, dim: int, mixer: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.mixer = nn.LayerNorm(dim), nn.LayerNorm(dim), mixer
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.first(x))
        return x + self.narrow(F.gelu(self.wide(self.second(x))))


class GPT(nn.Module):
    """A decoder of characters: indices `(b, t)` to logits `(b, t, symbols)`."""

    def __init__(self, symbols: int, dim: int, *, depth: int = 2, length: int = 64) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(symbols, dim), nn.Embedding(length, dim)
        blocks = (Block(dim, Attention(dim, 4, causal=True)) for _ in range(depth))
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, symbols)

    def forward(self, x: Tensor) -> Tensor:
        positions = self.positions(torch.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.blocks(self.tokens(x) + positions)))


class _Patches(nn.Module):
    """Images `(b, 1, 28, 28)` as embedded patches `(b, 49, d)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed, self.positions = nn.Conv2d(1, dim, 4, stride=4), nn.Embedding(49, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x).flatten(2).mT + self.positions.weight


class _TokenMLP(nn.Module):
    """The mixer of MLP-Mixer: an MLP over the tokens of every channel."""

    def __init__(self, tokens: int, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(tokens, hidden), nn.GELU(), nn.Linear(hidden, tokens))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x.mT).mT


class _TokenMean(nn.Module):
    """The average token."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def vit(generator: torch.Generator) -> Problem:
    """Fashion-MNIST, a vision transformer of two blocks."""
    blocks = [Block(64, Attention(64, 4, causal=False)) for _ in range(2)]
    return classification(_tokens(64, blocks, 10), images("fashion_mnist"), generator, batch=32)


def mixer(generator: torch.Generator) -> Problem:
    """EMNIST, an MLP-Mixer of two blocks."""
    blocks = [Block(64, _TokenMLP(49, 32)) for _ in range(2)]
    return classification(_tokens(64, blocks, 47), images("emnist_bymerge47"), generator, batch=32)


def _tokens(dim: int, blocks: list[Block], classes: int) -> nn.Module:
    head = (nn.LayerNorm(dim), _TokenMean(), nn.Linear(dim, classes))
    return nn.Sequential(_Patches(dim), *blocks, *head)
