"""Channels that distinguish inputs and outputs, for layers that average over them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures


class ChannelPerPosition(nn.Module):
    """Gives the weights of every input and output channels of their own, so that NP can use them.

    Args:
        spec: The network's symmetry.

    Shape:
        Features `(*batch, *axes, c)` to `(*batch, *axes, out_channels(c))`; a parameter without
        inputs and outputs takes the channels of the first.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec, self._fixed = spec, spec.hnp().fixed
        self.num_positions = max(spec.sizes[label] for label in self._fixed)

    def out_channels(self, channels: int) -> int:
        """Channels of the result, for features with `channels` channels."""
        return channels * self.num_positions

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Spreads channels over positions."""
        return feats.like([self._spread(tensor, name) for name, tensor in feats.items()])

    def _spread(self, tensor: Tensor, name: str) -> Tensor:
        size, behind = 1, 1
        for axis, label in enumerate(reversed(self.spec.axes[name]), start=1):
            if label in self._fixed:
                size, behind = self.spec.sizes[label], axis
        table = size * torch.eye(size, self.num_positions).to(tensor)  # an average is then the sum
        table = table.reshape(size, *[1] * behind, -1)  # (position, *later axes, c, channel)
        return (tensor.unsqueeze(-1) * table).flatten(-2)


def positions_first(
    spec: NetworkSpec, channels: int, per_position: bool
) -> tuple[list[nn.Module], int]:
    """`ChannelPerPosition` or no layer, and the number of channels after it."""
    if not per_position:
        return [], channels
    layer = ChannelPerPosition(spec)
    return [layer], layer.out_channels(channels)
