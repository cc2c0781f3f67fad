"""The ablation of the learned optimizer: every entry by itself."""

from __future__ import annotations

from ..layers.relational import SharedPointwise
from ._nfn import NFNRule


class ElementwiseRule(NFNRule):
    """`NFNRule` without weight-space context: its inputs through a per-entry MLP.

    Args:
        config: Shape of the rule.
    """

    layer = SharedPointwise
