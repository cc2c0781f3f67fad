"""Baselines of the paper: an MLP on flat weights, the same with augmentation, and StatNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import FlattenWeights, StatFeaturizer, UnflattenWeights
from ..symmetry import NetworkSpec, WeightSpaceFeatures, permute, random_permutations
from ._invariant import HeadConfig, mlp


class FlatMLP(nn.Module):
    """An MLP on all weights as one vector, without any symmetry.

    Args:
        spec: The symmetry of the networks read.
        config: Widths; `HeadConfig(hidden=(1000, 1000, 1000))` is the paper's.
        channels: Channels of the features.

    Shape:
        Features `(*batch, *axes, channels)` to a tensor `(*batch, config.out_features)`.
    """

    def __init__(
        self, spec: NetworkSpec, config: HeadConfig | None = None, channels: int = 1
    ) -> None:
        super().__init__()
        self.spec, self.config = spec, config or HeadConfig(hidden=(1000, 1000, 1000))
        self.flatten = FlattenWeights(spec)
        self.mlp = mlp(spec.num_entries * channels, self.config)

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Reads features of the spec's network."""
        return self.mlp(self.flatten(feats).flatten(-2))


class FlatMLPEditor(nn.Module):
    """An MLP from all weights to all weights: the editing baseline.

    Args:
        spec: The symmetry of the networks read.
        hidden: Widths of the hidden layers.
        channels: Channels of the features; the result has one.

    Shape:
        Features `(*batch, *axes, channels)` to `(*batch, *axes, 1)`.
    """

    def __init__(
        self, spec: NetworkSpec, hidden: tuple[int, ...] = (1000, 1000, 1000), channels: int = 1
    ) -> None:
        super().__init__()
        self.spec = spec
        self.flatten, self.unflatten = FlattenWeights(spec), UnflattenWeights(spec)
        size = spec.num_entries
        self.mlp = mlp(size * channels, HeadConfig(hidden=hidden, out_features=size))

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Maps features of the spec's network."""
        return self.unflatten(self.mlp(self.flatten(feats).flatten(-2)).unsqueeze(-1))


class PermutationAugmented(nn.Module):
    """Renumbers hidden neurons at random in training, then applies a network (MLP_Aug).

    One permutation is drawn for each call and shared by the batch.

    Args:
        network: Applied to the permuted features.
        spec: The symmetry of the networks read; hidden populations are permuted.
        generator: Draws the permutations.

    Shape:
        As the network's. A result with features is numbered back.
    """

    def __init__(
        self, network: nn.Module, spec: NetworkSpec, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.network, self.spec = network, spec.hnp()
        self.generator = generator or torch.Generator().manual_seed(0)

    def forward(self, feats: WeightSpaceFeatures) -> Tensor | WeightSpaceFeatures:
        """Applies the network, to permuted features while training."""
        if not self.training:
            return self.network(feats)
        permutations = random_permutations(self.spec, self.generator)
        result = self.network(permute(feats, permutations))
        if not isinstance(result, WeightSpaceFeatures):
            return result
        return permute(result, {label: p.argsort() for label, p in permutations.items()})


class StatNN(nn.Module):
    """An MLP on seven statistics of every parameter (Unterthiner et al., 2020).

    Args:
        spec: The symmetry of the networks read.
        config: Widths of the MLP.
        channels: Channels of the features.

    Shape:
        Features `(*batch, *axes, channels)` to a tensor `(*batch, config.out_features)`.
    """

    def __init__(
        self, spec: NetworkSpec, config: HeadConfig | None = None, channels: int = 1
    ) -> None:
        super().__init__()
        self.spec, self.config = spec, config or HeadConfig()
        self.statistics = StatFeaturizer(spec)
        self.mlp = mlp(self.statistics.out_features(channels), self.config)

    def forward(self, feats: WeightSpaceFeatures) -> Tensor:
        """Reads features of the spec's network."""
        return self.mlp(self.statistics(feats))
