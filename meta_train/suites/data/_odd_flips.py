"""Hidden neurons of odd activation with random signs.

`tanh(-x) = -tanh(x)`: if the weights into a neuron and those out of it change sign, the network
computes the same. Such a network is as likely: the same change of its start, which is as likely a
start, would have led training to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...zoo import Zoo
from ..harness import Examples
from ._inr_augment import flip_signs

_ODD = "tanh"


def is_odd(zoo: Zoo) -> Tensor:
    """Which networks of a zoo have an odd activation, `(n,)`; none where that is unknown."""
    names = zoo.categories.get("activation", ())
    if _ODD not in names or "activation" not in zoo.labels:
        return torch.zeros(len(zoo), dtype=torch.bool)
    return zoo.labels["activation"] == names.index(_ODD)


@dataclass(frozen=True)
class OddFlips:
    """Changes signs of hidden neurons at random in the examples whose activation is odd."""

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """Augments every example on its own; targets stay."""
        odd = examples.odd
        if odd is None or not odd.any():
            return examples
        return replace(examples, features=flip_signs(examples.features, generator, odd))
