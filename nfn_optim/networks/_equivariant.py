"""Networks from features to features, and the encoder that all networks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..layers import (
    ChannelDropout,
    GaussianFourierFeatures,
    HNPLinear,
    IOSinusoidalEncoding,
    Map,
    SharedNPLinear,
    WeightSpaceLayerNorm,
)
from ..symmetry import NetworkSpec, WeightSpaceFeatures

LinearLayer = Callable[..., nn.Module]
"""`NPLinear`, `HNPLinear`, `Pointwise`, or anything built from a spec and two channel counts.

`SharedNPLinear`, which needs no spec, is the exception: it is built from channel counts alone.
"""


@dataclass(frozen=True)
class InputConfig:
    """How raw weights become channels.

    Attributes:
        channels: Channels of the raw features: 1 for weights, 2 for weights and masks, ...
        fourier: Number of Gaussian Fourier frequencies; 0 passes the raw channels on.
        fourier_scale: Their standard deviation.
        bands: Number of frequencies of the input and output positions; 0 encodes none.
        max_freq: Highest of them.
    """

    channels: int = 1
    fourier: int = 0
    fourier_scale: float = 10.0
    bands: int = 0
    max_freq: float = 10.0


@dataclass(frozen=True)
class EquivariantConfig:
    """An equivariant network: NF-Layers with ReLU, then one without.

    Attributes:
        inputs: How raw weights become channels.
        layer: The NF-Layer, e.g. `HNPLinear`.
        hidden: Channels of the hidden layers.
        out_channels: Channels of the result.
        dropout: Probability of dropping a hidden channel.
        norm: Whether to normalise hidden channels.
    """

    inputs: InputConfig = InputConfig()
    layer: LinearLayer = HNPLinear
    hidden: tuple[int, ...] = (128, 128, 128)
    out_channels: int = 1
    dropout: float = 0.0
    norm: bool = False


class EquivariantNFN(nn.Module):
    """Features to features, commuting with renumbering hidden neurons (NFN section 3.4).

    Args:
        spec: The symmetry of the networks read.
        config: Layers and widths.

    Shape:
        Features `(*batch, *axes, config.inputs.channels)` to
        `(*batch, *axes, config.out_channels)`.
    """

    def __init__(self, spec: NetworkSpec, config: EquivariantConfig | None = None) -> None:
        super().__init__()
        self.spec, self.config = spec, config or EquivariantConfig()
        self.encoder = encoder(spec, self.config)
        self.head = _layer(spec, self.config, _width(spec, self.config), self.config.out_channels)

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Maps features of the spec's network."""
        return self.head(self.encoder(feats))


def input_layers(spec: NetworkSpec, config: InputConfig) -> tuple[list[nn.Module], int]:
    """The layers that encode raw weights, and the channels they make."""
    layers: list[nn.Module] = []
    channels = config.channels
    if config.fourier:
        layers.append(GaussianFourierFeatures(spec, channels, config.fourier, config.fourier_scale))
        channels = 2 * config.fourier
    if config.bands:
        positions = IOSinusoidalEncoding(spec, config.max_freq, config.bands, encode_layers=False)
        layers.append(positions)
        channels = positions.out_channels(channels)
    return layers, channels


def encoder(spec: NetworkSpec, config: EquivariantConfig) -> nn.Sequential:
    """Input encoding and hidden layers, each followed by norm, ReLU and dropout."""
    layers, channels = input_layers(spec, config.inputs)
    for width in config.hidden:
        layers.append(_layer(spec, config, channels, width))
        if config.norm:
            layers.append(WeightSpaceLayerNorm(spec.np(), width))
        layers.append(Map(nn.ReLU()))
        if config.dropout:
            layers.append(ChannelDropout(spec.np(), config.dropout))
        channels = width
    return nn.Sequential(*layers)


def _layer(spec: NetworkSpec, config: EquivariantConfig, n_in: int, n_out: int) -> nn.Module:
    """An NF-Layer of the configured kind."""
    if config.layer is SharedNPLinear:
        return SharedNPLinear(n_in, n_out)
    return config.layer(spec, n_in, n_out)


def _width(spec: NetworkSpec, config: EquivariantConfig) -> int:
    return config.hidden[-1] if config.hidden else input_layers(spec, config.inputs)[1]
