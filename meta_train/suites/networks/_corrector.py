"""A network that corrects a guess of which weights matter, as a method."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nfn_optim import WeightSpaceFeatures

from ...support import require_counts, require_positive
from ..harness import FitConfig, Interface, Wrapper
from ._mask_vae import join_features

_READ = 3  # channels: the start, the expected weights and their sizes
_LARGEST = 4.0  # correction in its own deviations
_TINY = 1e-12  # gradients of equal corrections are finite


class Corrector(nn.Module):
    """Scores of weights: how large they are expected, and a correction.

    Corrections of a parameter have mean 0 and deviation 1 before few are cut off, times a learned
    gain: what is kept of a layer is a matter of order.

    Args:
        network: From features `(n, *axes, 3)` to corrections `(n, *axes, 1)`.
        config: How it is trained.

    Shape:
        Starts and expected weights `(n, *axes, c)`, the first two channels, to `(n, *axes, 1)`.
    """

    def __init__(self, network: nn.Module, config: Rehearsals) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.gain = nn.Parameter(torch.tensor(0.1))

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """See the class."""
        read = features.map(lambda tensor: tensor[..., :2])
        sizes = read.map(lambda tensor: tensor[..., 1:].abs())
        written = self.network(join_features(read, sizes)).map(_standardized)
        pairs = zip(sizes.values(), written.values(), strict=True)
        return features.like([size + self.gain * correction for size, correction in pairs])


def _standardized(tensor: Tensor) -> Tensor:
    """Over the entries of one parameter of one network."""
    axes = tuple(range(1, tensor.dim()))
    centered = tensor - tensor.mean(axes, keepdim=True)
    deviation = (centered.square().mean(axes, keepdim=True) + _TINY).sqrt()
    return (centered / deviation).clamp(-_LARGEST, _LARGEST)


@dataclass(frozen=True, kw_only=True)
class Rehearsals:
    """How masks are learned from what networks reach after a short training under them.

    Attributes:
        fit: How the network that writes masks is trained.
        num_steps: Steps of a short training, of gradient descent with momentum.
        lr: Its learning rate at the start; it falls linearly to 0.
        num_images: Images that tell what was reached.
        softness: Of scores: how far from the threshold a weight may still come to be kept.

    Raises:
        ValueError: If a number is out of range.
    """

    fit: FitConfig
    num_steps: int = 100
    lr: float = 0.05
    num_images: int = 1_024
    softness: float = 0.5

    def __post_init__(self) -> None:
        require_counts(self, "num_steps", "num_images")
        require_positive(self, "lr", "softness")


@dataclass(frozen=True)
class Corrected(Wrapper):
    """A `Corrector` whose corrections are written by another method's network.

    Attributes:
        rehearsals: How it is trained.
    """

    rehearsals: Rehearsals

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        return Corrector(self.of.build(replace(interface, channels=_READ)), self.rehearsals)
