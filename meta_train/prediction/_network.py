"""A network that reads networks of any width and depth, and ignores the numbering of neurons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log, prod

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec
from nfn_optim.layers import (
    Map,
    NetworkPool,
    PackedFeatures,
    SharedNPLinear,
    reads_inputs,
    writes_outputs,
)

from ..support import require_counts

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
        Packed features with one channel to the same with eight.
    """

    def forward(self, features: PackedFeatures) -> PackedFeatures:
        """Describes the weights of any networks."""
        told = []
        for block, weights in features.blocks():
            facts = block.table(_facts).to(weights)
            fan = facts[:, :1]
            size = (fan.square() * block.entries.mean(weights.square()) + _EPS).sqrt()
            known = torch.cat([fan, size.reciprocal(), size.log(), facts[:, 1:]], 1)
            fan, inverse, rest = block.entries.spread(known).split([1, 1, known.shape[1] - 2], 1)
            signal = fan * weights
            told.append(
                torch.cat([signal * inverse, signal.asinh(), signal.square().asinh(), rest], 1)
            )
        return features.like(told)


@lru_cache(maxsize=512)
def _facts(spec: NetworkSpec) -> Tensor:
    """What is known of parameters without their weights, `(parameters, 5)`."""
    return torch.tensor(
        [
            (
                prod(spec.shapes[name][1:]) ** 0.5,  # of the fan-in, 1 for a bias
                reads_inputs(spec, name),
                writes_outputs(spec, name),
                place / max(1, len(spec.names) - 1),
                log(prod(spec.shapes[name][:1])) / 8,
            )
            for place, name in enumerate(spec.names)
        ],
        dtype=torch.float64,
    )


class Reader(nn.Module):
    """Networks of any architectures to vectors: NF-Layers shared by relation, pooling, an MLP.

    Args:
        config: Layers and widths.
        out_features: Length of the vectors.

    Shape:
        Packed weights of `n` networks to a tensor `(n, out_features)`.
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

    def forward(self, networks: PackedFeatures) -> Tensor:
        """Reads networks, all at once."""
        entries = self.described(networks)
        pooled = torch.cat([self.pool(entries), self.pool(self.layers(entries))], -1)
        return self.head(self.norm(pooled))
