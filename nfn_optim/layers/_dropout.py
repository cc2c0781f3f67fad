"""Dropout of whole channels."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._check import check_features
from ._fold import folds


class ChannelDropout(nn.Module):
    """Zeroes whole channels of every parameter at random, and scales up the others.

    All neurons lose the same channels, so that the layer commutes with renumbering them whatever is
    drawn. Axes whose order matters under the group at hand count as channels.

    Args:
        spec: The network's symmetry under the group at hand.
        p: Probability of dropping a channel.

    Shape:
        Features `(*batch, *axes, c)` to the same; batch entries lose different channels.

    Raises:
        ValueError: If `p` is not a probability.
    """

    def __init__(self, spec: NetworkSpec, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"ChannelDropout got p={p}. Give a probability between 0 and 1.")
        self.spec, self.p = spec, p
        self._folds = folds(spec)

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Drops channels in training; returns the features as they are in evaluation."""
        check_features(self, feats, self.spec)
        if not self.training or self.p == 0:
            return feats
        results = []
        for fold, tensor in zip(self._folds, feats.values(), strict=True):
            folded = fold.fold(tensor)  # (B, *n, f*c)
            ones = folded.new_ones(folded.shape[0], *(1 for _ in fold.sizes), folded.shape[-1])
            results.append(fold.unfold(folded * F.dropout(ones, self.p), feats.batch_shape))
        return feats.like(results)

    def __repr__(self) -> str:
        return f"ChannelDropout({self.p})"
