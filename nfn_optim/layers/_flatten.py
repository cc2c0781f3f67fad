"""Between features and one flat list of entries."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ..symmetry import NetworkSpec, SpecError, WeightSpaceFeatures
from ._check import check_features


class FlattenWeights(nn.Module):
    """All entries side by side, parameter by parameter in the spec's order.

    Args:
        spec: The network's symmetry.

    Shape:
        Features `(*batch, *axes, c)` to a tensor `(*batch, spec.num_entries, c)`.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Flattens features of the spec's network."""
        check_features(self, feats, self.spec)
        return torch.cat(entries_of(feats), dim=-2)


def entries_of(feats: WeightSpaceFeatures) -> list[Tensor]:
    """Each parameter's entries side by side, `(*batch, entries, c)`."""
    batch, channels = feats.batch_shape, feats.channels
    return [t.reshape(*batch, prod(feats.spec.shapes[n]), channels) for n, t in feats.items()]


class UnflattenWeights(nn.Module):
    """The inverse of `FlattenWeights`.

    Args:
        spec: The network's symmetry.

    Shape:
        A tensor `(*batch, spec.num_entries, c)` to features `(*batch, *axes, c)`.

    Raises:
        SpecError: In `forward`, if the number of entries is not the spec's.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, flat: Tensor) -> WeightSpaceFeatures:
        """Gives the entries their axes back."""
        if flat.dim() < 2 or flat.shape[-2] != self.spec.num_entries:
            raise SpecError(
                f"UnflattenWeights got {tuple(flat.shape)}; expected (*batch, "
                f"{self.spec.num_entries}, channels) for this network."
            )
        *batch, _, channels = flat.shape
        shapes = self.spec.shapes
        pieces = flat.split([prod(shapes[name]) for name in self.spec.names], dim=-2)
        return WeightSpaceFeatures(
            self.spec,
            {
                name: piece.reshape(*batch, *shapes[name], channels)
                for name, piece in zip(self.spec.names, pieces, strict=True)
            },
        )
