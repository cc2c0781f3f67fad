"""The paper's baselines as methods: an MLP on flat weights, the same augmented, and StatNN."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from nfn_optim.networks import FlatMLP, FlatMLPEditor, HeadConfig, PermutationAugmented, StatNN

from ..harness import Interface, Method, Wrapper


@dataclass(frozen=True)
class FlatWeights(Method):
    """An MLP on all weights as one vector.

    Attributes:
        mlp: Its widths; its length is the interface's. An editor has no dropout.
    """

    mlp: HeadConfig

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        if interface.out_features is None:
            return FlatMLPEditor(interface.spec, self.mlp.hidden, interface.channels)
        mlp = replace(self.mlp, out_features=interface.out_features)
        return FlatMLP(interface.spec, mlp, interface.channels)


@dataclass(frozen=True)
class Renumbered(Wrapper):
    """Another method, trained on networks whose neurons are renumbered at random."""

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        return PermutationAugmented(self.of.build(interface), interface.spec)


@dataclass(frozen=True)
class Statistics(Method):
    """StatNN, an MLP on statistics of every parameter.

    Attributes:
        mlp: Its widths; its length is the interface's.
    """

    mlp: HeadConfig

    def build(self, interface: Interface) -> nn.Module:
        """See the class."""
        mlp = replace(self.mlp, out_features=interface.out_features or 1)
        return StatNN(interface.spec, mlp, interface.channels)
