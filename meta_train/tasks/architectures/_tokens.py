"""Networks of tokens: transformers and mixers, for images, series and characters.

Shape legend: `b` samples, `t` tokens, `d` channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._draw import Dice
from ._layers import ACTIVATIONS, Activation, Builder, Norm, RMSNorm, draw_dim, draw_dropout

_MAX_DIM = 256
_HEADS = (1, 2, 4)


class Attention(nn.Module):
    """Self-attention; queries, keys and values by one layer or by three."""

    def __init__(self, dim: int, heads: int, *, causal: bool, fused: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        widths = (3 * dim,) if fused else (dim, dim, dim)
        self.read = nn.ModuleList(nn.Linear(dim, width) for width in widths)
        self.write = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(b, t, d)`, likewise out."""
        b, t, d = x.shape
        parts = [layer(x) for layer in self.read]
        q, k, v = parts[0].chunk(3, dim=-1) if len(parts) == 1 else parts
        q, k, v = (p.view(b, t, self.heads, d // self.heads).transpose(1, 2) for p in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        y: Tensor = self.write(mixed.transpose(1, 2).reshape(b, t, d))
        return y


class TokenMLP(nn.Module):
    """An MLP over the tokens of every channel."""

    def __init__(self, tokens: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(tokens, hidden), nn.Linear(hidden, tokens)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(b, t, d)`, likewise out."""
        y: Tensor = self.second(self.activation(self.first(x.transpose(1, 2))))
        return y.transpose(1, 2)


class Block(nn.Module):
    """Mixes tokens, then an MLP on each; normalization before or after."""

    def __init__(self, dim: int, mix: nn.Module, style: Style) -> None:
        super().__init__()
        self.mix, self.before = mix, style.before
        self.norms = nn.ModuleList(style.norm(dim) for _ in range(2))
        hidden = style.factor * dim
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), style.activation(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(style.dropout) if style.dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(b, t, d)`, likewise out."""
        for norm, branch in zip(self.norms, (self.mix, self.mlp), strict=True):
            if self.before:
                x = x + self.dropout(branch(norm(x)))
            else:
                x = norm(x + self.dropout(branch(x)))
        return x


class Style:
    """What the blocks of a network have in common, as drawn."""

    def __init__(self, dice: Dice) -> None:
        norms: tuple[Norm, ...] = (nn.LayerNorm, nn.LayerNorm, RMSNorm)
        self.norm, self.activation = dice.choice(norms), dice.choice(ACTIVATIONS[:5])
        self.factor, self.before = dice.choice((1, 2, 4)), dice.chance(0.8)
        self.fused, self.dropout = dice.chance(0.5), draw_dropout(dice)
        self.heads = dice.choice(_HEADS)
        self.dim = draw_dim(dice, 16, _MAX_DIM, max(_HEADS))
        self.depth = dice.size(1, 6)

    def attention(self, *, causal: bool) -> Block:
        """A transformer's block."""
        mix = Attention(self.dim, self.heads, causal=causal, fused=self.fused)
        return Block(self.dim, mix, self)


class _Tokens(nn.Module):
    """Embeds, adds learned positions, runs blocks, and reads the mean or every token."""

    def __init__(
        self, embed: nn.Module, tokens: int, blocks: list[Block], style: Style, outputs: int
    ) -> None:
        super().__init__()
        self.embed = embed
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, style.dim))
        self.blocks, self.norm = nn.Sequential(*blocks), style.norm(style.dim)
        self.head = nn.Linear(style.dim, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.features(x).mean(1))
        return y

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.blocks(self.embed(x) + self.positions))
        return y


class _EveryToken(_Tokens):
    """The same, with outputs for every token."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.features(x))
        return y


class _Patches(nn.Module):
    """Images `(b, c, h, w)` as embedded patches `(b, t, d)`."""

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.embed(x)
        return y.flatten(2).transpose(1, 2)


def draw_vit(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """A transformer of patches of an image.

    Args:
        dice: Makes the choices.
        sample: One image `(1, c, h, w)`.
        outputs: How many outputs the network has.
    """
    style = Style(dice)
    return _draw_patches(dice, sample, outputs, style, lambda _: style.attention(causal=False))


def draw_mixer(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """An MLP-Mixer of patches of an image.

    Args:
        dice: Makes the choices.
        sample: One image `(1, c, h, w)`.
        outputs: How many outputs the network has.
    """
    style, hidden = Style(dice), dice.size(16, 128)

    def block(tokens: int) -> Block:
        return Block(style.dim, TokenMLP(tokens, hidden, style.activation), style)

    return _draw_patches(dice, sample, outputs, style, block)


def _draw_patches(
    dice: Dice, sample: Tensor, outputs: int, style: Style, block: Callable[[int], Block]
) -> Builder:
    channels, side = sample.shape[1], sample.shape[-1]
    patch = dice.choice([p for p in range(2, side + 1) if 2 <= side // p <= 8])
    tokens = (side // patch) ** 2

    def build() -> nn.Module:
        embed = _Patches(channels, style.dim, patch)
        return _Tokens(embed, tokens, [block(tokens) for _ in range(style.depth)], style, outputs)

    return build


def draw_encoder(dice: Dice, sample: Tensor, outputs: int) -> Builder:
    """A transformer of the points of a series.

    Args:
        dice: Makes the choices.
        sample: One series `(1, t, c)`.
        outputs: How many outputs the network has.
    """
    style = Style(dice)

    def build() -> nn.Module:
        embed = nn.Linear(sample.shape[2], style.dim)
        blocks = [style.attention(causal=False) for _ in range(style.depth)]
        return _Tokens(embed, sample.shape[1], blocks, style, outputs)

    return build


def draw_gpt(dice: Dice, sample: Tensor, symbols: int) -> Builder:
    """A decoder of characters, whose head may be its embedding.

    Args:
        dice: Makes the choices.
        sample: One piece of text `(1, t)`, indices.
        symbols: How many symbols there are.
    """
    style, tied = Style(dice), dice.chance(0.3)

    def build() -> nn.Module:
        embed = nn.Embedding(symbols, style.dim)
        nn.init.normal_(embed.weight, std=0.02 if tied else 1.0)
        blocks = [style.attention(causal=True) for _ in range(style.depth)]
        module = _EveryToken(embed, sample.shape[1], blocks, style, symbols)
        if tied:
            module.head.weight = embed.weight
        return module

    return build
