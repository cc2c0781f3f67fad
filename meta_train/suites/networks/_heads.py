"""Methods that write several networks for each that they read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from ..harness import Interface, Wrapper


@dataclass(frozen=True)
class Heads(Wrapper):
    """Another method, with channels for several networks: where a suite averages what they compute.

    Attributes:
        networks: How many.
    """

    networks: int

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        return self.of.build(replace(interface, out_channels=self.networks))
