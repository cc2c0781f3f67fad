"""Attention between the slices of weights that share a population of neurons (NFT)."""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..symmetry import NetworkSpec, SpecError, WeightSpaceFeatures
from ._check import check_features, check_one_axis_each
from ._fold import Fold, folds


class NPAttention(nn.Module):
    """Weight-space self-attention (NFT, arXiv 2305.13546): equivariant under the NP group.

    The sum of two kinds of attention. For each population, every slice of every parameter along it
    is a token: for a hidden layer the columns of its weight, its bias, and the rows of the next
    weight; a token's feature is the whole slice. And among the means of all parameters, broadcast
    back.

    Args:
        spec: The network's symmetry; `spec.np()` is what counts.
        channels: Channels of the features; a multiple of `num_heads`.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight between slices.
        share_projections: Whether parameters with equally many taps share their projections.

    Shape:
        Features `(*batch, *axes, channels)` to the same.

    Raises:
        SpecError: If the heads do not divide the channels, or a parameter runs over one population
            twice.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        channels: int,
        num_heads: int = 8,
        dropout: float = 0.0,
        *,
        share_projections: bool = True,
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise SpecError(
                f"NPAttention got {channels} channels and {num_heads} heads. Make the channels a "
                "multiple of the heads."
            )
        self.spec, self.channels, self.num_heads = spec.np(), channels, num_heads
        check_one_axis_each(self, self.spec)
        self.dropout = dropout
        self._folds = folds(self.spec)
        keys = [f.width if share_projections else f.name for f in self._folds]
        groups = list(dict.fromkeys(keys))
        self._group = [groups.index(key) for key in keys]
        widths = [self._folds[self._group.index(group)].width for group in range(len(groups))]
        self.project = nn.ModuleList(nn.Linear(w * channels, 3 * channels) for w in widths)
        self.unproject = nn.ModuleList(
            nn.Linear(channels, w * channels) if w > 1 else nn.Identity() for w in widths
        )

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Attends within the spec's network."""
        check_features(self, feats, self.spec, self.channels)
        projected = [
            self._heads(self.project[group](fold.fold(tensor)))
            for fold, group, tensor in zip(self._folds, self._group, feats.values(), strict=True)
        ]
        updates = self._between_means(projected)
        for label in self.spec.populations:
            for param, update in self._between_slices(label, projected).items():
                updates[param] = updates[param] + update
        batch = feats.batch_shape
        return feats.like(
            [
                fold.unfold(self.unproject[group](update.flatten(-2)), batch)
                for fold, group, update in zip(self._folds, self._group, updates, strict=True)
            ]
        )

    def _heads(self, projected: Tensor) -> Tensor:
        """`(B, *n, 3c)` as `(B, *n, heads, 3, c/heads)`."""
        return projected.unflatten(-1, (self.num_heads, 3, self.channels // self.num_heads))

    def _between_means(self, projected: list[Tensor]) -> list[Tensor]:
        """One token a parameter, its mean; updates `(B, *1, heads, c/heads)`."""
        means = [x.flatten(1, -4).mean(1) if x.dim() > 4 else x for x in projected]
        tokens = torch.stack(means, dim=2)  # (B, heads, params, 3, c/heads)
        query, key, value = tokens.unbind(-2)
        updates = _attend(query, key, value, 0.0).unbind(2)
        return [
            update.reshape(update.shape[0], *(1 for _ in fold.sizes), *update.shape[1:]).expand(
                -1, *fold.sizes, -1, -1
            )
            for fold, update in zip(self._folds, updates, strict=True)
        ]

    def _between_slices(self, label: str, projected: list[Tensor]) -> dict[int, Tensor]:
        """One token a slice along a population; updates `(B, *n, heads, c/heads)`."""
        carriers = [p for p, fold in enumerate(self._folds) if label in fold.labels]
        tokens = [_slices(self._folds[p], label, projected[p]) for p in carriers]
        query, key, value = torch.cat(tokens, dim=2).unbind(-3)  # (B, heads, tokens, n, c/heads)
        shape = value.shape
        dropout = self.dropout if self.training else 0.0
        update = _attend(query.flatten(-2), key.flatten(-2), value.flatten(-2), dropout)
        update = update.reshape(shape)
        pieces = update.split([t.shape[2] for t in tokens], dim=2)
        return {
            p: _unslice(self._folds[p], label, piece)
            for p, piece in zip(carriers, pieces, strict=True)
        }

    def __repr__(self) -> str:
        return f"NPAttention({self.channels}, num_heads={self.num_heads}, dropout={self.dropout})"


def _attend(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    # Written out: the fused kernel has no rule for vmap nor for second derivatives.
    scores = query @ key.transpose(-2, -1) / sqrt(query.shape[-1])
    return F.dropout(scores.softmax(-1), dropout) @ value


def _slices(fold: Fold, label: str, projected: Tensor) -> Tensor:
    """`(B, *n, heads, 3, c)` as `(B, heads, other n, 3, n of the label, c)`."""
    moved = projected.movedim(1 + fold.labels.index(label), -2)  # (B, *other, heads, 3, n, c)
    others = prod(moved.shape[1:-4])
    return moved.reshape(moved.shape[0], others, *moved.shape[-4:]).transpose(1, 2)


def _unslice(fold: Fold, label: str, update: Tensor) -> Tensor:
    """`(B, heads, other n, n of the label, c)` as `(B, *n, heads, c)`."""
    position = fold.labels.index(label)
    others = fold.sizes[:position] + fold.sizes[position + 1 :]
    update = update.transpose(1, 2)  # (B, other, heads, n, c)
    update = update.reshape(update.shape[0], *others, *update.shape[2:])
    return update.movedim(-2, 1 + position)
