"""Networks that read every entry of weights in units of its own."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import FlattenWeights, UnflattenWeights

from ..harness import Interface, Raw, Wrapper


class StandardizeEntries(nn.Module):
    """Gives every entry mean 0 and variance 1 over the networks of a batch; later, of many batches.

    It tells neurons apart, so that it suits networks whose neurons correspond to each other.

    Args:
        spec: The symmetry of the networks.
        channels: Of the features.

    Shape:
        Features `(n, *axes, channels)` to the same.
    """

    def __init__(self, spec: NetworkSpec, channels: int) -> None:
        super().__init__()
        self.flatten, self.unflatten = FlattenWeights(spec), UnflattenWeights(spec)
        self.norm = nn.BatchNorm1d(spec.num_entries * channels, eps=1e-12, affine=False)

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Standardizes features of the spec's networks."""
        flat = self.flatten(features)  # (n, entries, channels)
        return self.unflatten(self.norm(flat.flatten(1)).view_as(flat))


@dataclass(frozen=True)
class Aligned(Wrapper):
    """Another method, for networks that share a start: it reads every entry in units of its own."""

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        units = StandardizeEntries(interface.spec, interface.channels)
        return Raw(units, self.of.build(interface))
