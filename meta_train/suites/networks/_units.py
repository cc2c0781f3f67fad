"""Weights in units that make networks of very different scales alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import nn

from nfn_optim import WeightSpaceFeatures

from ..harness import Interface, Raw, Wrapper

_EPS = 1e-8
_CHANNELS = 3


class Units(nn.Module):
    """Writes every entry in two units, and the logarithm of the first.

    Initial scales and learning rates of a zoo differ by factors of twenty and more: entries as they
    are would be near 0 for most networks. The first unit is the root mean square of the entries of
    a parameter. The second is what keeps a signal's size from layer to layer, `1 / sqrt(fan-in)`
    for weights and 1 for biases, so that layers of a network can be compared; large entries are
    logarithmic in it (asinh). Renumbering neurons changes neither.

    Shape:
        Features `(*batch, *axes, c)` to `(*batch, *axes, 3 * c)`.
    """

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Reads features of any network."""
        spec, lead, told = features.spec, len(features.batch_shape), []
        for name, tensor in features.items():
            axes = tuple(range(lead, tensor.dim() - 1))
            scale = (tensor.square().mean(axes, keepdim=True) + _EPS).sqrt()
            fan_in = prod(spec.shapes[name][1:])  # 1 for a bias
            signal = (fan_in**0.5 * tensor).asinh()
            told.append(torch.cat([tensor / scale, scale.log().expand_as(tensor), signal], dim=-1))
        return features.like(told)


@dataclass(frozen=True)
class InUnits(Wrapper):
    """Another method behind `Units`.

    It gets weights as they are: subtracting one mean from all would swamp the small ones.
    """

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        more = replace(interface, channels=_CHANNELS * interface.channels)
        return Raw(Units(), self.of.build(more))
