"""The shape of the learned rule, as a checkpoint stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._limits import Limits
from .constants import STEEP


@dataclass(frozen=True)
class NFNRuleConfig:
    """Shape of an `NFNRule`.

    Attributes:
        hidden: Channels between the two NF-Layers.
        initial_lr: Step size of the untrained rule, for vectors and in layers of 32 inputs.
        relative: Exponent with which a matrix's steps follow the size of its weights at the start:
            steps are a share of the weights (1), or the same everywhere (0).
        fading: Exponent with which steps follow gradients that become smaller.
        first_share: What the first steps are of their full size; they open while gradients agree,
            see the module `_opening`. With 1 they have it at once.
        scaling: How fast matrices become smaller or larger as a whole where gradients ask for it,
            beside the size of their steps, see the module `_scaling`.
        centred: Whether magnitudes have mean zero over each parameter: NF-Layers then write how
            large steps of entries are beside each other, and the pace alone how large those of the
            parameter are. So it is, except in checkpoints before version 6.
        careful: Whether steps become smaller beyond the limits, as in those checkpoints. Otherwise
            the rule tends to its untrained form there.
        steep: Along how many directions on either side of a matrix steps become smaller because
            gradients are large there, see the module `_steep`.
        limits: What meta-training has seen.
    """

    hidden: int = 16
    initial_lr: float = 2.25e-2
    relative: float = 1.0
    fading: float = 0.5
    first_share: float = 1 / 4
    scaling: float = 0.4
    centred: bool = True
    careful: bool = False
    steep: int = STEEP
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NFNRuleConfig:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**values, "limits": Limits(**values["limits"])})
