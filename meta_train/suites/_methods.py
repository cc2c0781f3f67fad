"""The paper's networks and baselines, built for any interface at any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from nfn_optim.layers import HNPLinear, NPLinear, Pointwise
from nfn_optim.networks import (
    NFT,
    EquivariantConfig,
    EquivariantNFN,
    FlatMLP,
    FlatMLPEditor,
    HeadConfig,
    InputConfig,
    InvariantConfig,
    InvariantNFN,
    NFT2Array,
    PermutationAugmented,
    StatNN,
    TransformerConfig,
)

from ._interface import Interface
from ._siren_pass import Places


@dataclass(frozen=True, kw_only=True)
class NetworkSize:
    """Widths of the networks that the methods build.

    Attributes:
        channels: Channels of the equivariant layers.
        head: Widths of the MLP after pooling, of StatNN and of the MLP on flat weights.
        dropout: In that MLP.
        feature_dropout: Of channels in the equivariant layers.
        norm: Whether channels are normalized.
        fourier: Gaussian Fourier frequencies of the raw weights, which come standardized; 0 for
            the weights themselves.
        fourier_scale: Their standard deviation, in cycles.
        bands: Frequencies of the code of inputs and outputs, for NP and pointwise layers.
        max_freq: Highest of them.
        sine: Channels of a first layer that ends in a sine, where a suite's NP and HNP have one; 0
            for none.
        gate: Whether that sine multiplies as many linear channels.
        places: Where NP and HNP of a suite of SIRENs start as their forward pass, in place of such
            a layer and of `channels`; None for networks that start at random.
        blocks: Blocks of the transformer, as wide as the last of `channels`.
        latents: Vectors that the transformer pools to.
        probes: Inputs that classifiers are run on, by methods that run them.
    """

    channels: tuple[int, ...] = (512, 512, 512)
    head: tuple[int, ...] = (1000, 1000)
    dropout: float = 0.0
    feature_dropout: float = 0.0
    norm: bool = False
    fourier: int = 0
    fourier_scale: float = 1.0
    bands: int = 0
    max_freq: float = 10.0
    sine: int = 0
    gate: bool = False
    places: Places | None = None
    blocks: int = 4
    latents: int = 4
    probes: int = 64

    def inputs(self, channels: int, *, positions: bool) -> InputConfig:
        """How raw weights become channels."""
        bands = self.bands if positions else 0
        return InputConfig(channels, self.fourier, self.fourier_scale, bands, self.max_freq)

    def mlp(self, interface: Interface) -> HeadConfig:
        """The MLP at the end."""
        return HeadConfig(self.head, interface.out_features or 1, self.dropout)


Build = Callable[[Interface, NetworkSize], nn.Module]


def mlp(interface: Interface, size: NetworkSize) -> nn.Module:
    """The MLP on flat weights."""
    if interface.out_features is not None:
        return FlatMLP(interface.spec, size.mlp(interface), interface.channels)
    return FlatMLPEditor(interface.spec, size.head, interface.channels)


def mlp_aug(interface: Interface, size: NetworkSize) -> nn.Module:
    """The same, trained on networks renumbered at random."""
    return PermutationAugmented(mlp(interface, size), interface.spec)


def statnn(interface: Interface, size: NetworkSize) -> nn.Module:
    """The MLP on statistics."""
    return StatNN(interface.spec, size.mlp(interface), interface.channels)


def pt(interface: Interface, size: NetworkSize) -> nn.Module:
    """Pointwise layers: the ablation without any mixing of weights."""
    return _nfn(interface, size, _equivariant(interface, size, Pointwise, positions=True))


def np(interface: Interface, size: NetworkSize) -> nn.Module:
    """NP layers, told inputs and outputs apart by a code."""
    return _nfn(interface, size, _equivariant(interface, size, NPLinear, positions=True))


def hnp(interface: Interface, size: NetworkSize) -> nn.Module:
    """HNP layers."""
    return _nfn(interface, size, _equivariant(interface, size, HNPLinear, positions=False))


def nft(interface: Interface, size: NetworkSize) -> nn.Module:
    """The transformer; pooled by attention for a vector."""
    config = TransformerConfig(
        inputs=size.inputs(interface.channels, positions=False),
        channels=size.channels[-1],
        blocks=size.blocks,
        widening=2,
        dropout=size.feature_dropout,
        latents=size.latents,
    )
    if interface.out_features is None:
        last = Pointwise(interface.spec, config.channels, interface.out_channels, gain=1.0)
        return nn.Sequential(NFT(interface.spec, config), last)
    return nn.Sequential(
        NFT2Array(interface.spec, config),
        nn.Flatten(-2),
        nn.Linear(config.latents * config.channels, size.head[-1]),
        nn.ReLU(),
        nn.Dropout(size.dropout),
        nn.Linear(size.head[-1], interface.out_features),
    )


METHODS: dict[str, Build] = {
    "mlp": mlp,
    "mlp-aug": mlp_aug,
    "statnn": statnn,
    "pt": pt,
    "np": np,
    "hnp": hnp,
    "nft": nft,
}
"""By the name on the command line."""


def _equivariant(
    interface: Interface, size: NetworkSize, layer: Callable[..., nn.Module], *, positions: bool
) -> EquivariantConfig:
    return EquivariantConfig(
        size.inputs(interface.channels, positions=positions),
        layer,
        size.channels,
        interface.out_channels,
        size.feature_dropout,
        size.norm,
    )


def _nfn(interface: Interface, size: NetworkSize, config: EquivariantConfig) -> nn.Module:
    """Pooled for a vector, with one more layer for features."""
    if interface.out_features is None:
        return EquivariantNFN(interface.spec, config)
    return InvariantNFN(interface.spec, InvariantConfig(encoder=config, head=size.mlp(interface)))
