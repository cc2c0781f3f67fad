"""HNP layers for wide inputs and outputs: position-specific maps of low rank."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from ...symmetry import NetworkSpec, WeightSpaceFeatures
from .._check import check_features
from ._init import Init, keep_variance
from ._linear import DerivedLinear, NPLinear

_SHARE = 0.25  # of the output's variance from the position-specific part, at initialisation


class LowRankHNPLinear(nn.Module):
    """An HNP-equivariant layer whose weights do not grow with the square of inputs and outputs.

    The sum of `NPLinear` and of `HNPLinear` on a network whose wide input and output populations
    are replaced by `rank` learned combinations of them. A 784-128-10 MLP with 16 channels needs
    some 10^5 weights instead of 3 * 10^8. A subspace of `HNPLinear`, which it equals in
    expressiveness from `rank = max(n_in, n_out)` on.

    Args:
        spec: The network's symmetry; its `io` populations keep their order.
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        rank: Number of combinations; populations no larger than this are kept whole.
        init: Fills the weights.

    Shape:
        Features `(*batch, *axes, in_channels)` to `(*batch, *axes, out_channels)`.

    Raises:
        SpecError: If a parameter runs over one population twice.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        in_channels: int,
        out_channels: int,
        rank: int = 8,
        *,
        init: Init = keep_variance,
    ) -> None:
        super().__init__()
        self.spec, self.in_channels, self.out_channels = spec.hnp(), in_channels, out_channels
        self.shared = NPLinear(spec, in_channels, out_channels, init=init)
        wide = [x for x in spec.sizes if x in self.spec.fixed and spec.sizes[x] > rank]
        self._small = _shrink(self.spec, wide, rank)
        self.specific = DerivedLinear(self._small, in_channels, out_channels, init=init)
        self._wide = wide
        sizes = [spec.sizes[label] for label in wide]
        self.read = nn.ParameterList(torch.randn(n, rank) / sqrt(n) for n in sizes)
        self.write = nn.ParameterList(torch.randn(n, rank) / sqrt(rank) for n in sizes)
        with torch.no_grad():
            for layer, share in ((self.shared, 1 - _SHARE), (self.specific, _SHARE)):
                for weight in layer.weights:
                    weight.mul_(sqrt(share))

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Maps features of the spec's network."""
        check_features(self, feats, self.spec, self.in_channels)
        read = {label: table.t() for label, table in zip(self._wide, self.read, strict=True)}
        write = dict(zip(self._wide, self.write, strict=True))
        small = WeightSpaceFeatures(
            self._small, {n: _combine(self.spec, n, t, read) for n, t in feats.items()}
        )
        shared, specific = self.shared(feats), self.specific(small)
        return feats.like(
            [shared[n] + _combine(self.spec, n, specific[n], write) for n in self.spec.names]
        )

    def __repr__(self) -> str:
        kept = ", ".join(
            f"{label} {len(t)}" for label, t in zip(self._wide, self.read, strict=True)
        )
        return (
            f"LowRankHNPLinear({self.in_channels}, {self.out_channels}, reduced: {kept or 'none'})"
        )


def _shrink(spec: NetworkSpec, wide: list[str], rank: int) -> NetworkSpec:
    """The spec with wide populations replaced by `rank` neurons."""
    shapes = {
        name: tuple(
            rank if label in wide else size
            for label, size in zip(spec.axes[name], spec.shapes[name], strict=True)
        )
        for name in spec.names
    }
    heads = {label: group for label, group in spec.heads.items() if label not in wide}
    known = {*spec.sizes, *(group.numbering for group in heads.values())}
    pinned, fixed = spec.pinned & known, spec.fixed & known
    # No module stores the reduced network, so it has no shapes in storage.
    return replace(
        spec, shapes=shapes, stored={}, orders={}, heads=heads, pinned=pinned, fixed=fixed
    )


def _combine(spec: NetworkSpec, name: str, tensor: Tensor, tables: dict[str, Tensor]) -> Tensor:
    """Multiplies every axis whose population has a table `(new, old)` by it."""
    first = tensor.dim() - 1 - len(spec.axes[name])
    for axis, label in enumerate(spec.axes[name], start=first):
        if label in tables:
            tensor = (tables[label] @ tensor.transpose(axis, -2)).transpose(axis, -2)
    return tensor
