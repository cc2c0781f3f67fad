"""Hand-picked statistics of every parameter: the features of the StatNN baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._check import check_features
from ._flatten import entries_of

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class StatFeaturizer(nn.Module):
    """Mean, unbiased variance and quartiles of all entries of every parameter (StatNN).

    The variance of a single entry is 0. Invariant to any renumbering.

    Args:
        spec: The network's symmetry.

    Shape:
        Features `(*batch, *axes, c)` to a tensor `(*batch, out_features(c))`: for each parameter in
        the spec's order, for each of the seven statistics, all channels.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    def out_features(self, channels: int) -> int:
        """Length of the result for features with so many channels."""
        return channels * len(self.spec.names) * (2 + len(_QUANTILES))

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Computes the statistics of the spec's network."""
        check_features(self, feats, self.spec)
        stats = [self._statistics(entries) for entries in entries_of(feats)]
        return torch.cat(stats, dim=-2).flatten(-2)

    def _statistics(self, entries: Tensor) -> Tensor:
        """`(*batch, entries, c)` to `(*batch, 7, c)`, in single precision at least."""
        wide = entries if entries.dtype == torch.float64 else entries.float()
        quantiles = _quantiles(wide)
        mean = wide.mean(-2, keepdim=True)
        squares = (wide - mean).square().sum(-2, keepdim=True)
        variance = squares / max(1, wide.shape[-2] - 1)  # `var` warns of an empty batch
        stats = torch.cat([mean, variance, quantiles], dim=-2)
        return stats.to(entries.dtype)


def _quantiles(entries: Tensor) -> Tensor:
    """Linearly interpolated, as `torch.quantile`, which has no rule for vmap."""
    ordered = entries.sort(-2).values
    levels = torch.tensor(_QUANTILES, dtype=entries.dtype, device=entries.device)
    position = levels * (entries.shape[-2] - 1)  # (5,)
    below, above = position.floor(), position.ceil()
    weight = (position - below)[:, None]
    low, high = (ordered.index_select(-2, index.long()) for index in (below, above))
    return torch.lerp(low, high, weight.expand_as(low))
