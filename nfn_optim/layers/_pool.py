"""Invariant pooling: a vector that does not change when neurons are renumbered."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._check import check_features
from ._flatten import FlattenWeights
from ._fold import folds


class InvariantPool(nn.Module):
    """Averages every parameter over its neurons, keeping the axes whose order matters.

    `NPPool` and `HNPPool` are this layer under the paper's two groups.

    Args:
        spec: The network's symmetry under the group at hand.

    Shape:
        Features `(*batch, *axes, c)` to a tensor `(*batch, out_features(c))`, parameter by
        parameter in the spec's order, channels varying fastest.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self._folds = folds(spec)

    def out_features(self, channels: int) -> int:
        """Length of the pooled vector for features with so many channels."""
        return channels * sum(fold.width for fold in self._folds)

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Pools features of the spec's network."""
        check_features(self, feats, self.spec)
        pooled = []
        for fold, tensor in zip(self._folds, feats.values(), strict=True):
            folded = fold.fold(tensor)  # (B, *n, f*c)
            pooled.append(folded.flatten(1, -2).mean(1) if fold.labels else folded)
        joined = torch.cat(pooled, dim=-1)
        return joined.reshape(*feats.batch_shape, joined.shape[-1])


class NPPool(InvariantPool):
    """The mean of every weight and bias (NFN section 2.3): `2L` values a channel for an MLP.

    Args:
        spec: The network's symmetry; `spec.np()` is what counts.

    Shape:
        Features `(*batch, *axes, c)` to a tensor `(*batch, out_features(c))`.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec.np())


class HNPPool(InvariantPool):
    """Means over hidden neurons only, one value for each input and output (NFN Eq. 17).

    The averages over inputs and outputs that the paper lists as well are sums of these and left
    out.

    Args:
        spec: The network's symmetry; `spec.hnp()` is what counts.

    Shape:
        Features `(*batch, *axes, c)` to a tensor `(*batch, out_features(c))`.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec.hnp())


class CrossAttnPool(nn.Module):
    """Learned queries attend to all entries: INR2ARRAY's pooling (NFT, arXiv 2305.13546).

    Invariant to renumbering any axis, so positions must be encoded before.

    Args:
        spec: The network's symmetry.
        channels: Channels of the input features and of the result.
        num_latents: Number of queries.

    Shape:
        Features `(*batch, *axes, channels)` to a tensor `(*batch, num_latents, channels)`.
    """

    def __init__(self, spec: NetworkSpec, channels: int, num_latents: int) -> None:
        super().__init__()
        self.channels, self.num_latents = channels, num_latents
        self.queries = nn.Parameter(torch.randn(num_latents, channels))
        self.flatten = FlattenWeights(spec)

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Pools features of the spec's network."""
        check_features(self, feats, self.flatten.spec, self.channels)
        entries = self.flatten(feats)  # (*batch, entries, c)
        queries = self.queries.expand(*entries.shape[:-2], -1, -1)
        return F.scaled_dot_product_attention(queries, entries, entries)
