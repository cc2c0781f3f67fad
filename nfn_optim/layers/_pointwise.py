"""The pointwise layer, NFN_PT: it maps every entry by itself."""

from __future__ import annotations

from math import sqrt

from torch import nn

from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._check import check_features
from ._fold import folds


class Pointwise(nn.Module):
    """Maps every entry's channels by one matrix per parameter (NFN section 3, the PT ablation).

    Axes whose order matters (kernel taps) are folded into channels, so a matrix sees all taps of
    one pair of neurons. It commutes with renumbering any axis on its own, so it is *more*
    symmetric than a network's weight space.

    Args:
        spec: The network's symmetry; `spec.np()` is what counts.
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        gain: Mean square gained at initialisation; 2 makes up for a ReLU.

    Shape:
        Features `(*batch, *axes, in_channels)` to `(*batch, *axes, out_channels)`.
    """

    def __init__(
        self, spec: NetworkSpec, in_channels: int, out_channels: int, *, gain: float = 2.0
    ) -> None:
        super().__init__()
        self.spec, self.in_channels, self.out_channels = spec.np(), in_channels, out_channels
        self._folds = folds(self.spec)
        self.maps = nn.ModuleList(
            nn.Linear(fold.width * in_channels, fold.width * out_channels) for fold in self._folds
        )
        for fold, linear in zip(self._folds, self.maps, strict=True):
            nn.init.normal_(
                linear.get_parameter("weight"), 0, sqrt(gain / fold.width / in_channels)
            )
            nn.init.zeros_(linear.get_parameter("bias"))

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Maps features of the spec's network."""
        check_features(self, feats, self.spec, self.in_channels)
        batch = feats.batch_shape
        tripled = zip(self._folds, self.maps, feats.values(), strict=True)
        return feats.like([f.unfold(linear(f.fold(t)), batch) for f, linear, t in tripled])

    def __repr__(self) -> str:
        return f"Pointwise({self.in_channels}, {self.out_channels})"
