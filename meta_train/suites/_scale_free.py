"""What networks of very different scales look like to a network that reads them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from nfn_optim import WeightSpaceFeatures

from ._examples import Raw
from ._interface import Interface
from ._methods import Build, NetworkSize

_EPS = 1e-8


class ScaleFree(nn.Module):
    """Divides a parameter by the root mean square of its entries, and tells its logarithm beside.

    Initial scales and learning rates of a zoo differ by factors of twenty and more: entries as they
    are would be near 0 for most networks. Renumbering neurons changes neither channel.

    Shape:
        Features `(*batch, *axes, c)` to `(*batch, *axes, 2 * c)`.
    """

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Reads features of any network."""
        lead, scaled = len(features.batch_shape), []
        for tensor in features.values():
            axes = tuple(range(lead, tensor.dim() - 1))
            scale = (tensor.square().mean(axes, keepdim=True) + _EPS).sqrt()
            scaled.append(torch.cat([tensor / scale, scale.log().expand_as(tensor)], dim=-1))
        return features.like(scaled)


def scale_free(build: Build) -> Build:
    """A network behind `ScaleFree`.

    It gets weights as they are: a mean taken off all alike would be most of what small ones become.
    """

    def build_behind(interface: Interface, size: NetworkSize) -> nn.Module:
        doubled = replace(interface, channels=2 * interface.channels)
        return Raw(ScaleFree(), build(doubled, size))

    return build_behind
