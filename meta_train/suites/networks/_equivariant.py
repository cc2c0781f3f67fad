"""The paper's NF-networks as methods: NF-Layers, and the transformer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import nn

from nfn_optim.layers import Pointwise
from nfn_optim.networks import (
    NFT,
    EquivariantConfig,
    EquivariantNFN,
    HeadConfig,
    InvariantConfig,
    InvariantNFN,
    NFT2Array,
    TransformerConfig,
)

from ..harness import Interface, Method


@dataclass(frozen=True)
class Equivariant(Method):
    """NF-Layers; a pool and an MLP follow where a suite asks for a vector.

    Attributes:
        layers: The NF-Layers; channels that are read and written are the interface's.
        head: The MLP; its length is the interface's.
    """

    layers: EquivariantConfig
    head: HeadConfig = field(default_factory=HeadConfig)

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        inputs = replace(self.layers.inputs, channels=interface.channels)
        layers = replace(self.layers, inputs=inputs, out_channels=interface.out_channels)
        if interface.out_features is None:
            return EquivariantNFN(interface.spec, layers)
        head = replace(self.head, out_features=interface.out_features)
        return InvariantNFN(interface.spec, InvariantConfig(encoder=layers, head=head))


@dataclass(frozen=True)
class Transformer(Method):
    """The transformer; pooled by attention, before an MLP, where a suite asks for a vector.

    Attributes:
        config: Blocks and widths; channels that are read are the interface's.
        hidden: Width of the MLP's hidden layer.
        dropout: In the MLP.
    """

    config: TransformerConfig
    hidden: int
    dropout: float = 0.0

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        inputs = replace(self.config.inputs, channels=interface.channels)
        config, spec = replace(self.config, inputs=inputs), interface.spec
        if interface.out_features is None:
            last = Pointwise(spec, config.channels, interface.out_channels, gain=1.0)
            return nn.Sequential(NFT(spec, config), last)
        return nn.Sequential(
            NFT2Array(spec, config),
            nn.Flatten(-2),
            nn.Linear(config.latents * config.channels, self.hidden),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, interface.out_features),
        )
