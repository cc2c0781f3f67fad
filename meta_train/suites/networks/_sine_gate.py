"""NF-networks that read SIRENs as SIRENs read coordinates: an NF-Layer and a sine come first.

What a first neuron contributes at a place `x` is `sin(w x + b)`. One NF-Layer makes `w x + b` for
as many places as it has channels, and the sine also multiplies by the weights that read the neuron,
as in `sin(u + v) = sin u + v cos u + ...`. Rectifiers need many channels for either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import pi

import torch
from torch import Tensor, nn

from nfn_optim.layers import Block, Map

from ..harness import Interface, Method
from ._equivariant import Equivariant
from ._positions import positions_first

_NEAR, _FAR = 0.5, 0.1  # deviations of weights that read what shares a neuron, and all else


class SineGate(nn.Module):
    """The sine of half of the channels times the other half.

    Layers that end in it contain a SIREN's own forward pass: `W_jk sin(w_k x + b_k)`, averaged
    over `k`, is the phase of the next neuron.

    Shape:
        A tensor `(..., 2 * c)` to `(..., c)`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Multiplies."""
        phase, factor = x.chunk(2, -1)
        return phase.sin() * factor


@dataclass(frozen=True)
class SineGated(Method):
    """An NF-Layer before a `SineGate`, then further NF-Layers; all start at random.

    Attributes:
        channels: Channels after the gate.
        then: What follows; the first NF-Layer is of the same kind.
        per_position: Whether every input and output has channels of its own, as NP needs to tell
            them apart.
    """

    channels: int
    then: Equivariant
    per_position: bool = False

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        before, channels = positions_first(interface.spec, interface.channels, self.per_position)
        layer: Callable[..., nn.Module] = self.then.layers.layer
        init = partial(spread_and_pass, channels=self.channels)
        first = layer(interface.spec, channels, 2 * self.channels, init=init)
        then = self.then.build(replace(interface, channels=self.channels))
        return nn.Sequential(*before, first, Map(SineGate()), then)


@torch.no_grad()
def spread_and_pass(blocks: Sequence[Block], bias: Tensor, *, channels: int) -> None:
    """Starts the layer before a `SineGate`.

    Phases read all that shares a neuron and are spread over the circle; factors read the entry
    itself.

    Args:
        blocks: The maps that add up to one target.
        bias: Its additive bias.
        channels: Channels after the gate.
    """
    for block in blocks:
        block.weight.normal_(0, _NEAR if block.kept else _FAR)
    bias.uniform_(-pi, pi)
    labels = max(len(block.kept) for block in blocks)
    for block in blocks:
        factors = block.weight.unflatten(1, (-1, 2, channels))[:, :, 1]
        factors.normal_(0, 1.0 if len(block.kept) == labels else _FAR)
    bias.unflatten(0, (-1, 2, channels))[:, 1] = 0
