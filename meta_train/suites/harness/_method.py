"""What takes part in a suite: a value that builds a network for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from ._interface import Interface


class Method(ABC):
    """A way to read networks: a frozen dataclass with the settings of the network it builds."""

    @abstractmethod
    def build(self, interface: Interface) -> nn.Module:
        """A new network that reads and writes what the interface says; torch's generator draws it.

        Auxiliary numbers are left out, unless the method is one that learns them.
        """

    def can_read(self, interface: Interface) -> bool:
        """Whether the interface tells all that the method needs."""
        return True


@dataclass(frozen=True)
class Wrapper(Method):
    """A method around another.

    Attributes:
        of: The other.
    """

    of: Method

    def can_read(self, interface: Interface) -> bool:
        """Whether the other can."""
        return self.of.can_read(interface)
