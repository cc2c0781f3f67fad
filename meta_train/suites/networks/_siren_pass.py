"""NF-Layers that start as the forward pass of the SIRENs they read, at places of a grid.

A channel is a place. The first layer writes the phases `w_j x + b_j` of first neurons beside the
weights `W_ij` that read them, and a gate makes `W_ij sin(w_j x + b_j)`. Its mean over `j` and a
bias are the phases of second neurons, and so on. What a pool makes of the last gate is the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import pi, prod

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import Block, Map

from ..harness import Interface, Method, Raw
from ._equivariant import Equivariant
from ._positions import positions_first
from ._sine_gate import SineGate

_SMALL = 0.01  # deviation of the weights that the pass does not need


@dataclass(frozen=True)
class Places:
    """Where a network evaluates the SIRENs that it reads when its training starts.

    Attributes:
        side: Places along every coordinate.
        span: The grid runs from `-span` to `span`.
        omega: Frequency factor of the SIRENs.
    """

    side: int
    span: float
    omega: float

    def grid(self, dimensions: int) -> Tensor:
        """The places, `(dimensions, side ** dimensions)`."""
        line = torch.linspace(-self.span, self.span, self.side)
        return torch.stack(torch.meshgrid(*[line] * dimensions, indexing="ij")).flatten(1)


class PhaseUnits(nn.Module):
    """Multiplies weights by their fan-in, as means replace sums, and what is in a sine by omega.

    The first weights keep their scale: inputs are told apart, so that no mean is taken over them.

    Args:
        spec: The symmetry of SIRENs.
        omega: Their frequency factor.

    Shape:
        Features `(*batch, *axes, c)` to the same.
    """

    def __init__(self, spec: NetworkSpec, omega: float) -> None:
        super().__init__()
        fan_in = [1, *(spec.shapes[weight][1] for weight in spec.weights[1:])]
        units = {}
        for depth, (weight, bias) in enumerate(zip(spec.weights, spec.vectors, strict=True)):
            units[bias] = 1.0 if weight == spec.weights[-1] else omega
            units[weight] = units[bias] * fan_in[depth]
        self.units = [units[name] for name in spec.names]

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Scales features of the spec's network."""
        return feats.like([t * unit for t, unit in zip(feats.values(), self.units, strict=True)])


@dataclass(frozen=True)
class SirenPass(Method):
    """NF-Layers and gates that start as the SIRENs' forward pass, then layers that read the image.

    Weights come as they are, in `PhaseUnits`.

    Attributes:
        places: Where the SIRENs are evaluated at the start.
        then: What follows; the NF-Layers are of the same kind.
        per_position: Whether every input and output has channels of its own, as NP needs to tell
            them apart.
    """

    places: Places
    then: Equivariant
    per_position: bool = False

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        spec = interface.spec
        grid = self.places.grid(spec.shapes[spec.weights[0]][1])
        before, channels = positions_first(spec, interface.channels, self.per_position)
        return Raw(
            PhaseUnits(spec, self.places.omega),
            *before,
            *forward_pass(spec, self.then.layers.layer, channels, grid),
            self.then.build(replace(interface, channels=grid.shape[1])),
        )


def forward_pass(
    spec: NetworkSpec, layer: Callable[..., nn.Module], channels: int, grid: Tensor
) -> list[nn.Module]:
    """NF-Layers and gates, as many as the SIRENs have sines, that start as their forward pass.

    After a pool over hidden neurons, the last weight's and the last bias's channels add up to what
    the SIRENs show at the places.

    Args:
        spec: The symmetry of the SIRENs; their weights come in `PhaseUnits`.
        layer: `HNPLinear`, or `NPLinear` behind `ChannelPerPosition`.
        channels: Channels of the features.
        grid: The places, `(d, k)`; k channels come out.
    """
    modules: list[nn.Module] = []
    for depth in range(len(spec.weights) - 1):
        start = PassStart(spec, depth, grid)
        modules += [layer(spec, channels, 2 * grid.shape[1], init=start), Map(SineGate())]
        channels = grid.shape[1]
    return modules


@dataclass(frozen=True, eq=False)
class PassStart:
    """Starts an NF-Layer before a `SineGate` as one layer of a SIREN's forward pass.

    Attributes:
        spec: The symmetry of the SIRENs.
        depth: Which of their layers, from 0.
        grid: The places, `(d, k)`.
    """

    spec: NetworkSpec
    depth: int
    grid: Tensor

    @torch.no_grad()
    def __call__(self, blocks: Sequence[Block], bias: Tensor) -> None:
        """Fills the blocks of a target and its bias; later layers of the SIREN pass unchanged."""
        spec, depth, target = self.spec, self.depth, blocks[0].target
        reader = spec.weights[depth + 1]
        if target not in (*spec.weights[depth + 1 :], *spec.vectors[depth + 1 :]):
            for block in blocks:
                block.weight.normal_(0, _SMALL)
            bias.uniform_(-pi, pi)
            return
        phases, factors = self._halves(bias)  # (f, k)
        phases.fill_(0 if target == reader else pi / 2)
        factors.zero_()
        for block in blocks:
            block.weight.zero_()
            if block.source == target and not block.averaged:
                self._pass(block, len(phases))
            if target == reader and block.kept == spec.axes[spec.weights[depth]][:1]:
                self._read(block)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Phases and factors `(..., f, k)`, views of `(..., f * 2 * k)`."""
        phases, factors = x.unflatten(-1, (-1, 2, self.grid.shape[1])).unbind(-2)
        return phases, factors

    def _pass(self, block: Block, fixed: int) -> None:
        """Factors are the entries themselves."""
        _, factors = self._halves(block.weight)
        own = factors.unflatten(0, (fixed, -1)).diagonal(dim1=0, dim2=2)  # (c_in, k, f)
        if self.depth:
            own.copy_(self._channels().unsqueeze(-1))
        else:  # inputs and outputs that share weights come multiplied by their number
            labels = self.spec.axes[block.target]
            told_apart = (label for label in labels if label in self.spec.hnp().fixed)
            own.fill_(fixed / prod(self.spec.sizes[label] for label in told_apart))

    def _read(self, block: Block) -> None:
        """Phases are those of the layer's neurons."""
        phases, _ = self._halves(block.weight)  # (c_in, f, k)
        if self.depth and block.source in (self.spec.weights[self.depth], self._bias()):
            phases.copy_(self._channels().unsqueeze(1))
        elif block.source == self.spec.weights[self.depth]:
            phases[: len(self.grid)] = self.grid.unsqueeze(1)
        elif block.source == self._bias():
            phases[0] = 1

    def _bias(self) -> str:
        return self.spec.vectors[self.depth]

    def _channels(self) -> Tensor:
        return torch.eye(self.grid.shape[1])
