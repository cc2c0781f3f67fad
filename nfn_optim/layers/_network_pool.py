"""Invariant pooling without a spec: one vector length for networks of any depth and width."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..symmetry import NetworkSpec, WeightSpaceFeatures

_GROUPS = 4


class NetworkPool(nn.Module):
    """Means over parameters: all weights, all vectors, those that read inputs or write outputs.

    A parameter counts by its own mean, whatever its size, so that networks of different widths and
    depths give vectors that can be compared. A group without parameters gives zeros. Belongs behind
    `SharedNPLinear`, which runs on any network too.

    Shape:
        Features `(*batch, *axes, c)` of any spec to a tensor `(*batch, 4 * c)`.

    Example:
        >>> spec = NetworkSpec({"w": ("out", "in")}, {"w": (3, 2)}, io=("in", "out"))
        >>> feats = WeightSpaceFeatures(spec, {"w": torch.ones(5, 3, 2, 1)})
        >>> NetworkPool()(feats)[0]
        tensor([1., 0., 1., 1.])
    """

    def out_features(self, channels: int) -> int:
        """Length of the pooled vector for features with so many channels."""
        return _GROUPS * channels

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Pools features of any network."""
        spec, lead = feats.spec, len(feats.batch_shape)
        means = {
            n: t.flatten(lead, -2).mean(-2) if t.dim() > lead + 1 else t for n, t in feats.items()
        }
        none = torch.zeros_like(next(iter(means.values())))
        pooled = []
        for belongs in _MEMBERS:
            members = [mean for name, mean in means.items() if belongs(spec, name)]
            pooled.append(torch.stack(members).mean(0) if members else none)
        return torch.cat(pooled, -1)


def reads_inputs(spec: NetworkSpec, name: str) -> bool:
    """Whether a parameter has an axis of the network's inputs."""
    return any(label in spec.io for label in spec.axes[name][1:])


def writes_outputs(spec: NetworkSpec, name: str) -> bool:
    """Whether a parameter ends in the network's outputs."""
    return any(label in spec.io for label in spec.axes[name][:1])


_MEMBERS: tuple[Callable[[NetworkSpec, str], bool], ...] = (
    lambda spec, name: len(spec.axes[name]) > 1,
    lambda spec, name: len(spec.axes[name]) <= 1,
    reads_inputs,
    writes_outputs,
)
