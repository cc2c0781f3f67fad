"""A network that reads networks of any width and depth, and ignores the numbering of neurons."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, prod

import torch
from torch import Tensor, nn

from nfn_optim import WeightSpaceFeatures
from nfn_optim.layers import Map, NetworkPool, SharedNPLinear, reads_inputs, writes_outputs

from ..support import require_counts
from ..zoo import Networks

_EPS = 1e-8
_CHANNELS = 8  # of `Described`


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """A reader of networks.

    Attributes:
        channels: Channels of the NF-Layers.
        layers: Number of NF-Layers.
        hidden: Width of the MLP on what they are pooled to.
        dropout: Probability of dropping one of its inputs.

    Raises:
        ValueError: If a number is out of range.
    """

    channels: int = 16
    layers: int = 2
    hidden: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_counts(self, "channels", "layers", "hidden")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); got {self.dropout}.")


class Described(nn.Module):
    """Entries in units that compare across widths, beside a description of their parameter.

    The channels are: the entry over the root mean square of its parameter; the entry over the size
    that keeps a signal's size, and its square (both as asinh); the logarithm of that root mean
    square; whether the parameter reads inputs and whether it writes outputs; its place in the
    network; the logarithm of its number of neurons. Renumbering neurons changes none.

    Shape:
        Features `(*batch, *axes, 1)` of any network to `(*batch, *axes, 8)`.
    """

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Describes the weights of any network."""
        spec, lead, told = features.spec, len(features.batch_shape), []
        for place, (name, tensor) in enumerate(features.items()):
            axes = tuple(range(lead, tensor.dim() - 1))
            fan_in = prod(spec.shapes[name][1:])  # 1 for a bias
            signal = fan_in**0.5 * tensor
            size = (signal.square().mean(axes, keepdim=True) + _EPS).sqrt()
            facts = (
                reads_inputs(spec, name),
                writes_outputs(spec, name),
                place / max(1, len(spec.names) - 1),
                log(prod(spec.shapes[name][:1])) / 8,
            )
            known = tensor.new_tensor(facts).expand(*tensor.shape[:-1], len(facts))
            scale = size.log().expand_as(tensor)
            own = (signal / size, signal.asinh(), signal.square().asinh(), scale)
            told.append(torch.cat([*own, known], -1))
        return features.like(told)


class Reader(nn.Module):
    """Networks of any architectures to vectors: NF-Layers shared by relation, pooling, an MLP.

    Args:
        config: Layers and widths.
        out_features: Length of the vectors.

    Shape:
        `Networks` to a tensor `(n, out_features)`.
    """

    def __init__(self, config: ReaderConfig, out_features: int) -> None:
        super().__init__()
        self.described, self.pool = Described(), NetworkPool()
        layers: list[nn.Module] = []
        channels, c = _CHANNELS, config.channels
        for _ in range(config.layers):
            layers += [SharedNPLinear(channels, c), Map(nn.LayerNorm(c)), Map(nn.SiLU())]
            channels = c
        self.layers = nn.Sequential(*layers)
        pooled = self.pool.out_features(_CHANNELS + c)
        self.norm = nn.BatchNorm1d(pooled)
        self.head = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(pooled, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, out_features),
        )

    def forward(self, networks: Networks) -> Tensor:
        """Reads networks, one batch for each spec."""
        return self.head(self.norm(networks.read(self._pooled)))

    def _pooled(self, features: WeightSpaceFeatures) -> Tensor:
        entries = self.described(features)
        return torch.cat([self.pool(entries), self.pool(self.layers(entries))], -1)
