"""NF-networks that read SIRENs as SIRENs read coordinates: NF-Layers and sines come first.

What a first neuron contributes at a place `x` is `sin(w x + b)`. One NF-Layer makes `w x + b` for
as many places as it has channels, and the sine also multiplies by the weights that read the neuron,
as in `sin(u + v) = sin u + v cos u + ...`. Rectifiers need many channels for either. Such layers
start at random, or as the SIREN's whole forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import pi

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import Block, HNPLinear, Map, NPLinear
from nfn_optim.networks import (
    EquivariantConfig,
    EquivariantNFN,
    InputConfig,
    InvariantConfig,
    InvariantNFN,
)

from . import _methods
from ._examples import Raw
from ._interface import Interface
from ._methods import NetworkSize
from ._siren_pass import PhaseUnits, Places, SineGate, forward_pass

_NEAR, _FAR = 0.5, 0.1  # deviations of weights that read what shares a neuron, and all else


def np(interface: Interface, size: NetworkSize) -> nn.Module:
    """NP layers, the first of them on channels of their own for every input and output."""
    if not (size.sine or size.places):
        return _methods.np(interface, size)
    positions = ChannelPerPosition(interface.spec)
    channels = positions.out_channels(interface.channels)
    if size.places:
        return _passing(interface, size, size.places, NPLinear, channels, positions)
    first = _first(interface, size, NPLinear, channels)
    return nn.Sequential(positions, first, _network(interface, size, NPLinear))


def hnp(interface: Interface, size: NetworkSize) -> nn.Module:
    """HNP layers."""
    if size.places:
        return _passing(interface, size, size.places, HNPLinear, interface.channels)
    if not size.sine:
        return _methods.hnp(interface, size)
    first = _first(interface, size, HNPLinear, interface.channels)
    return nn.Sequential(first, _network(interface, size, HNPLinear))


class ChannelPerPosition(nn.Module):
    """Gives the weights of every input and output channels of their own: NP tells them apart.

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
        """Channels of the result for features with so many channels."""
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


@torch.no_grad()
def spread(blocks: Sequence[Block], bias: Tensor) -> None:
    """Starts the layer before a sine: all that shares a neuron is heard, phases are spread.

    Args:
        blocks: The maps that add up to one target.
        bias: Its additive bias.
    """
    for block in blocks:
        block.weight.normal_(0, _NEAR if block.kept else _FAR)
    bias.uniform_(-pi, pi)


@torch.no_grad()
def spread_and_pass(blocks: Sequence[Block], bias: Tensor, *, channels: int) -> None:
    """Starts the layer before a `SineGate`: phases as `spread`, factors that read the entry itself.

    Args:
        blocks: The maps that add up to one target.
        bias: Its additive bias.
        channels: Channels after the gate.
    """
    spread(blocks, bias)
    labels = max(len(block.kept) for block in blocks)
    for block in blocks:
        factors = block.weight.unflatten(1, (-1, 2, channels))[:, :, 1]
        factors.normal_(0, 1.0 if len(block.kept) == labels else _FAR)
    bias.unflatten(0, (-1, 2, channels))[:, 1] = 0


def _first(
    interface: Interface, size: NetworkSize, layer: Callable[..., nn.Module], channels: int
) -> nn.Module:
    """The layer that ends in a sine, gated or not."""
    if not size.gate:
        return nn.Sequential(
            layer(interface.spec, channels, size.sine, init=spread), Map(torch.sin)
        )
    init = partial(spread_and_pass, channels=size.sine)
    return nn.Sequential(layer(interface.spec, channels, 2 * size.sine, init=init), Map(SineGate()))


def _passing(
    interface: Interface,
    size: NetworkSize,
    places: Places,
    layer: Callable[..., nn.Module],
    channels: int,
    *before: nn.Module,
) -> nn.Module:
    """Layers that start as the SIRENs' forward pass, then one more or a pool and an MLP."""
    grid = places.grid(interface.spec.shapes[interface.spec.weights[0]][1])
    return Raw(
        PhaseUnits(interface.spec, places.omega),
        *before,
        *forward_pass(interface.spec, layer, channels, grid),
        _network(interface, replace(size, sine=grid.shape[1], channels=()), layer),
    )


def _network(interface: Interface, size: NetworkSize, layer: Callable[..., nn.Module]) -> nn.Module:
    """What follows the sines: layers with rectifiers, then one more or a pool and an MLP."""
    config = EquivariantConfig(
        InputConfig(size.sine), layer, size.channels, interface.out_channels, size.feature_dropout
    )
    if interface.out_features is None:
        return EquivariantNFN(interface.spec, config)
    return InvariantNFN(interface.spec, InvariantConfig(config, head=size.mlp(interface)))
