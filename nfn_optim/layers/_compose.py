"""Small modules that make networks of NF-Layers: functions of every tensor, residuals, scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._check import check_features
from .relational import PackedFeatures

Features = TypeVar("Features", WeightSpaceFeatures, PackedFeatures)


class Map(nn.Module):
    """Applies a function to every tensor: nonlinearities, ordinary dropout.

    Args:
        fn: A module or function that keeps the parameter axes.

    Shape:
        Features `(*batch, *axes, c)` to whatever `fn` makes of the channels.

    Example:
        >>> Map(nn.ReLU())
        Map(ReLU())
    """

    def __init__(self, fn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, feats: Features) -> Features:
        """Maps features of any network, or networks."""
        return feats.like([self.fn(t) for t in feats.values()])

    def __repr__(self) -> str:
        return f"Map({self.fn})"


class ResidualBlock(nn.Module):
    """Adds the result of a sequence of layers to its input.

    Args:
        layers: Applied one after the other, e.g. norm, NF-Layer, nonlinearity, dropout.

    Shape:
        Features `(*batch, *axes, c)` to the same.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, feats: Features) -> Features:
        """The features plus what the layers make of them."""
        added = self.layers(feats)
        return feats.like([a + b for a, b in zip(feats.values(), added.values(), strict=True)])


class LearnedScale(nn.Module):
    """Multiplies every parameter by a learned number, small at first (NFN section 3.4).

    Args:
        spec: The network's symmetry.
        init: Where all scales start.

    Shape:
        Features `(*batch, *axes, c)` to the same.
    """

    def __init__(self, spec: NetworkSpec, init: float = 0.01) -> None:
        super().__init__()
        self.spec = spec
        self.scales = nn.Parameter(torch.full((len(spec.names),), init))

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Scales features of the spec's network."""
        check_features(self, feats, self.spec)
        return feats.like([t * s for t, s in zip(feats.values(), self.scales, strict=True)])
