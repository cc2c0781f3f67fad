"""Networks to learn from: features and what they should be mapped to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nfn_optim import WeightSpaceFeatures


@dataclass(frozen=True, eq=False)
class Examples:
    """Networks and targets.

    Attributes:
        features: `(n, *axes, c)`.
        targets: `(n, ...)`: labels, scores, images.
        odd: Whether the networks' activations are odd `(n,)`, where that is known.
    """

    features: WeightSpaceFeatures
    targets: Tensor
    odd: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor | slice) -> Examples:
        """Some of the examples."""
        tensors = [tensor[index] for tensor in self.features.values()]
        odd = None if self.odd is None else self.odd[index]
        return Examples(self.features.like(tensors), self.targets[index], odd)

    def to(self, device: torch.device) -> Examples:
        """The same on a device."""
        odd = None if self.odd is None else self.odd.to(device)
        return Examples(self.features.to(device), self.targets.to(device), odd)


class Standardize(nn.Module):
    """Gives every parameter's channels mean 0 and variance 1 over all entries and networks.

    One mean and scale a parameter, so that no neuron is told from another.

    Args:
        features: The networks to take the statistics of, `(n, *axes, c)`.

    Shape:
        Features `(*batch, *axes, c)` to the same.
    """

    def __init__(self, features: WeightSpaceFeatures) -> None:
        super().__init__()
        entries = [tensor.flatten(0, -2) for tensor in features.values()]
        std = torch.stack([e.std(0, correction=0) for e in entries])  # (parameters, c)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.stack([e.mean(0) for e in entries]))
        self.register_buffer("std", torch.where(std > 1e-8, std, torch.ones_like(std)))

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Standardizes features of the same network."""
        statistics = zip(features.values(), self.mean, self.std, strict=True)
        return features.like([(tensor - mean) / std for tensor, mean, std in statistics])


class Raw(nn.Sequential):
    """A network that reads weights as they are; `Supervised` standardizes them for all others."""


class Prepared(nn.Module, ABC):
    """A part of a network that looks at training networks before the first step."""

    @abstractmethod
    def prepare(self, examples: Any) -> None:
        """Sets itself up by the suite's examples; torch's generator draws what is random."""

    def note(self, features: WeightSpaceFeatures) -> tuple[Tensor, ...]:
        """What it computes of networks and training does not change, `(n, ...)` each.

        It is computed once, and comes as `Noted` features then to what a `Raw` network begins with.
        Nothing, where this is not defined.
        """
        return ()
