"""Invariant pooling without a spec: one vector length for networks of any depth and width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..symmetry import WeightSpaceFeatures
from ._groups import GROUPS
from .relational import Block, PackedFeatures


class NetworkPool(nn.Module):
    """Means over parameters: all weights, all vectors, those that read inputs or write outputs.

    A parameter counts by its own mean, whatever its size, so that networks of different widths and
    depths give vectors that can be compared. A group without parameters gives zeros. Belongs behind
    `SharedNPLinear`, which runs on any network too.

    Shape:
        Features `(*batch, *axes, c)` of any spec to a tensor `(*batch, 4 * c)`, or
        `PackedFeatures` of `n` networks to `(n, 4 * c)`.

    Example:
        >>> from nfn_optim import NetworkSpec
        >>> spec = NetworkSpec({"w": ("out", "in")}, {"w": (3, 2)}, io=("in", "out"))
        >>> feats = WeightSpaceFeatures(spec, {"w": torch.ones(5, 3, 2, 1)})
        >>> NetworkPool()(feats)[0]
        tensor([1., 0., 1., 1.])
    """

    def out_features(self, channels: int) -> int:
        """Length of the pooled vector for features with so many channels."""
        return len(GROUPS) * channels

    def forward(self, feats: WeightSpaceFeatures | PackedFeatures) -> Tensor:
        """Pools features of any network, or networks."""
        if isinstance(feats, PackedFeatures):
            return torch.cat([_pooled(block, x) for block, x in feats.blocks()])
        spec, lead = feats.spec, len(feats.batch_shape)
        means = {
            n: t.flatten(lead, -2).mean(-2) if t.dim() > lead + 1 else t for n, t in feats.items()
        }
        none = torch.zeros_like(next(iter(means.values())))
        pooled = []
        for belongs in GROUPS:
            members = [mean for name, mean in means.items() if belongs(spec, name)]
            pooled.append(torch.stack(members).mean(0) if members else none)
        return torch.cat(pooled, -1)


def _pooled(block: Block, x: Tensor) -> Tensor:
    """The same for entries `(entries, c)` of many networks: `(n, 4 * c)`."""
    means = block.groups.mean(block.entries.mean(x))
    return means.view(len(block.links), -1)
