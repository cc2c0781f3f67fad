"""Layer normalisation of weight-space features."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._check import check_features
from ._fold import folds


class WeightSpaceLayerNorm(nn.Module):
    """Normalises the channels of every entry, with a gain and shift per parameter.

    Axes whose order matters under the group at hand are normalised together with the channels:
    kernel taps under `spec.np()`, inputs and outputs too under `spec.hnp()`. The variance is the
    biased one, so that a single channel gives the shift and not NaN.

    Args:
        spec: The network's symmetry under the group at hand.
        channels: Channels of the features.
        eps: Added to the variance.

    Shape:
        Features `(*batch, *axes, channels)` to the same.
    """

    def __init__(self, spec: NetworkSpec, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.spec, self.channels, self.eps = spec, channels, eps
        self._folds = folds(spec)
        widths = [fold.width * channels for fold in self._folds]
        self.gains = nn.ParameterList(torch.ones(width) for width in widths)
        self.shifts = nn.ParameterList(torch.zeros(width) for width in widths)

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Normalises features of the spec's network."""
        check_features(self, feats, self.spec, self.channels)
        batch = feats.batch_shape
        results = []
        for fold, tensor, gain, shift in zip(
            self._folds, feats.values(), self.gains, self.shifts, strict=True
        ):
            normed = F.layer_norm(fold.fold(tensor), gain.shape, gain, shift, self.eps)
            results.append(fold.unfold(normed, batch))
        return feats.like(results)

    def __repr__(self) -> str:
        return f"WeightSpaceLayerNorm({self.channels})"
