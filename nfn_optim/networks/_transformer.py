"""Neural functional transformers (NFT, arXiv 2305.13546)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from ..layers import (
    CrossAttnPool,
    LearnedPosEmbedding,
    Map,
    NPAttention,
    Pointwise,
    ResidualBlock,
    WeightSpaceLayerNorm,
)
from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._equivariant import InputConfig, input_layers


@dataclass(frozen=True)
class TransformerConfig:
    """A neural functional transformer.

    Attributes:
        inputs: How raw weights become channels.
        channels: Channels of the features.
        blocks: Number of blocks: attention, then a pointwise MLP.
        heads: Number of attention heads.
        widening: Hidden channels of the pointwise MLP, over `channels`.
        dropout: Probability of dropping an entry of what a block adds.
        latents: Number of vectors that `NFT2Array` pools to.
    """

    inputs: InputConfig = field(default_factory=lambda: InputConfig(fourier=128, fourier_scale=3.0))
    channels: int = 256
    blocks: int = 6
    heads: int = 4
    widening: int = 4
    dropout: float = 0.0
    latents: int = 16


class NFT(nn.Module):
    """Features to features by attention between weights that share neurons.

    Args:
        spec: The symmetry of the networks read.
        config: Blocks and widths; the default is INR2ARRAY's.

    Shape:
        Features `(*batch, *axes, config.inputs.channels)` to `(*batch, *axes, config.channels)`.
    """

    def __init__(self, spec: NetworkSpec, config: TransformerConfig | None = None) -> None:
        super().__init__()
        self.spec, self.config = spec, config or TransformerConfig()
        layers, channels = input_layers(spec, self.config.inputs)
        if channels != self.config.channels:
            layers.append(Pointwise(spec, channels, self.config.channels, gain=1.0))
        layers.append(LearnedPosEmbedding(spec, self.config.channels))
        for _ in range(self.config.blocks):
            layers += _block(spec, self.config)
        self.layers = nn.Sequential(*layers)

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Maps features of the spec's network."""
        return self.layers(feats)


class NFT2Array(nn.Module):
    """Features to a few vectors: the encoder of INR2ARRAY, a transformer and attention pooling.

    Args:
        spec: The symmetry of the networks read.
        config: Blocks and widths.

    Shape:
        Features `(*batch, *axes, config.inputs.channels)` to a tensor
        `(*batch, config.latents, config.channels)`.
    """

    def __init__(self, spec: NetworkSpec, config: TransformerConfig | None = None) -> None:
        super().__init__()
        self.spec, self.config = spec, config or TransformerConfig()
        self.transformer = NFT(spec, self.config)
        self.pool = CrossAttnPool(spec, self.config.channels, self.config.latents)

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Reads features of the spec's network."""
        return self.pool(self.transformer(feats))


def _block(spec: NetworkSpec, config: TransformerConfig) -> list[nn.Module]:
    """Attention and a pointwise MLP, each after a norm and added to its input."""
    channels, wide = config.channels, config.widening * config.channels
    attention = ResidualBlock(
        WeightSpaceLayerNorm(spec.np(), channels),
        NPAttention(spec, channels, config.heads),
        Map(nn.Dropout(config.dropout)),
    )
    pointwise = ResidualBlock(
        WeightSpaceLayerNorm(spec.np(), channels),
        Pointwise(spec, channels, wide),
        Map(nn.GELU()),
        Pointwise(spec, wide, channels, gain=1.0),
        Map(nn.Dropout(config.dropout)),
    )
    return [attention, pointwise]
