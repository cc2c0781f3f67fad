"""Methods that learn more than the suite's task."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..harness import Interface, Wrapper


@dataclass(frozen=True)
class Multitask(Wrapper):
    """Another method that also learns the auxiliary targets, where the interface has some."""

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        return self.of.build(interface.whole)
