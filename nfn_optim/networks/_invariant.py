"""Networks from features to a vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..layers import HNPPool, InvariantPool, NetworkPool, PackedFeatures
from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._equivariant import EquivariantConfig, encoder, input_layers


@dataclass(frozen=True)
class HeadConfig:
    """An ordinary MLP on a vector.

    Attributes:
        hidden: Widths of the hidden layers.
        out_features: Length of the result: classes, or 1 for a score.
        dropout: Probability of dropping a hidden unit.
    """

    hidden: tuple[int, ...] = (1000, 1000)
    out_features: int = 1
    dropout: float = 0.0


@dataclass(frozen=True)
class InvariantConfig:
    """An invariant network: NF-Layers, pooling over neurons, an MLP head.

    Attributes:
        encoder: The NF-Layers; its `out_channels` does not count.
        pool: `HNPPool` or `NPPool`; or a function that makes a `NetworkPool`, which together with
            `SharedNPLinear` and without encodings reads other networks, and packs of them, too.
        head: The MLP.
    """

    encoder: EquivariantConfig = field(
        default_factory=lambda: EquivariantConfig(hidden=(16, 16, 5))
    )
    pool: Callable[[NetworkSpec], InvariantPool | NetworkPool] = HNPPool
    head: HeadConfig = HeadConfig()


class InvariantNFN(nn.Module):
    """Features to a vector that ignores the numbering of hidden neurons (NFN sections 3.1, 3.2).

    Args:
        spec: The symmetry of the networks read.
        config: Layers and widths; the default is the paper's for the Small CNN Zoo.

    Shape:
        Features `(*batch, *axes, config.encoder.inputs.channels)` to a tensor
        `(*batch, config.head.out_features)`.
    """

    def __init__(self, spec: NetworkSpec, config: InvariantConfig | None = None) -> None:
        super().__init__()
        self.spec, self.config = spec, config or InvariantConfig()
        self.encoder = encoder(spec, self.config.encoder)
        self.pool = self.config.pool(spec)
        hidden = self.config.encoder.hidden
        channels = hidden[-1] if hidden else input_layers(spec, self.config.encoder.inputs)[1]
        self.head = mlp(self.pool.out_features(channels), self.config.head)

    def forward(self, feats: WeightSpaceFeatures | PackedFeatures) -> Tensor:
        """Reads features of the spec's network; of any where no layer knows the spec."""
        return self.head(self.pool(self.encoder(feats)))


def mlp(in_features: int, config: HeadConfig) -> nn.Sequential:
    """Linear layers with ReLU and dropout between."""
    layers: list[nn.Module] = []
    for width in config.hidden:
        layers += [nn.Linear(in_features, width), nn.ReLU(), nn.Dropout(config.dropout)]
        in_features = width
    return nn.Sequential(*layers, nn.Linear(in_features, config.out_features))
