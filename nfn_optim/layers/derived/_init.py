"""Initialisation of derived layers, one block (target, source, kept labels) at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

POOLED_SHARE = 0.25
"""Part of an output's variance that comes from averages of other entries, at initialisation."""

POOLED_MEAN_SQUARE = 0.5
"""Assumed mean square of an average over that of single entries.

It is 1 / pi after the ReLU of independent normal entries and 1 where all entries are equal; with
depth, entries become more alike.
"""


@dataclass(frozen=True)
class Block:
    """One map of a layer: from one parameter to another through the labels they share.

    Attributes:
        target: Name of the parameter written.
        source: Name of the parameter read.
        kept: The labels that are not averaged over.
        averaged: Whether the source is averaged over anything.
        weight: View `(f_in*c_in, f_out*c_out)` of the layer's parameter.
    """

    target: str
    source: str
    kept: tuple[str, ...]
    averaged: bool
    weight: Tensor


Init = Callable[[Sequence[Block], Tensor], None]
"""Fills all blocks that write one target, and its additive bias, in place."""


@torch.no_grad()
def keep_variance(blocks: Sequence[Block], bias: Tensor, *, gain: float = 2.0) -> None:
    """Keeps the mean square of features from layer to layer, whatever the network's width.

    Averages over many entries carry little variance, so counting them in the fan-in (as
    `fan_in_uniform` does) shrinks features layer by layer. Here maps that read single entries share
    most of the output's variance and averages the rest.

    Args:
        blocks: The maps that add up to one target.
        bias: Its additive bias, set to zero.
        gain: Mean square gained; 2 makes up for a ReLU, 1 suits a layer without nonlinearity.
    """
    whole = [block for block in blocks if not block.averaged]
    averaged = [block for block in blocks if block.averaged]
    pooled_share = POOLED_SHARE if whole and averaged else float(bool(averaged))
    expected = 1 - pooled_share + pooled_share * POOLED_MEAN_SQUARE
    for group, share in ((whole, 1 - pooled_share), (averaged, pooled_share)):
        for block in group:
            variance = gain * share / expected / len(group) / block.weight.shape[0]
            block.weight.normal_(0, sqrt(variance))
    bias.zero_()


@torch.no_grad()
def fan_in_uniform(blocks: Sequence[Block], bias: Tensor) -> None:
    """The paper's initialisation: uniform, by the fan-in of the NF-Layer (appendix A).

    Every block and the bias are drawn from `U(-b, b)` with `b = 1 / sqrt(total fan-in)`.
    """
    bound = 1 / sqrt(sum(block.weight.shape[0] for block in blocks))
    for block in blocks:
        block.weight.uniform_(-bound, bound)
    bias.uniform_(-bound, bound)
