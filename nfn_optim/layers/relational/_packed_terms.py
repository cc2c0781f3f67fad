"""What neurons, parameters and networks add to the entries of packed networks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._pack import Block
from ._roles import NUM_ROLES


class Maps(NamedTuple):
    """The weights of a `SharedNPLinear`, in the order of the layer."""

    entry: Tensor
    vector: Tensor
    taps: Tensor
    own: Tensor
    neurons: Tensor
    network: Tensor
    bias: Tensor

    @property
    def in_channels(self) -> int:
        """Channels of the input features."""
        return self.entry.shape[1]

    @property
    def out_channels(self) -> int:
        """Channels of the output features."""
        return self.entry.shape[0]


def section_sizes(block: Block, slots: Tensor) -> list[int]:
    """Of slots: outputs of weights, inputs of weights, outputs of vectors, and what has taps."""
    return [*block.slot_sizes, len(slots) - sum(block.slot_sizes)]


def terms_of(maps: Maps, block: Block, pooled: Tensor, context: Tensor | None) -> Tensor:
    """What is added to the entries of each slot, `(slots, o)`.

    Args:
        maps: The weights.
        block: All networks.
        pooled: Means of each slot, `(slots, c)`.
        context: Descriptors `(parameters, k)`.
    """
    sizes = section_sizes(block, pooled)
    rows, cols, _, taps = pooled.split(sizes)
    means = block.owners.mean(pooled[: sum(block.slot_sizes)])
    num_parameters = block.num_weights + block.num_vectors
    neurons, parameters = means.split([len(means) - num_parameters, num_parameters])
    mapped = neurons.view(-1, NUM_ROLES * maps.in_channels) @ maps.neurons.t()
    known = _parameter_terms(maps, block, parameters, context)
    terms = block.owners.spread(torch.cat([mapped.view(-1, maps.out_channels), known]))
    of_rows, of_cols, of_vectors = terms.split(sizes[:3])
    own_rows, own_cols = maps.own.transpose(1, 2)
    parts = [of_rows.addmm(rows, own_rows), of_cols.addmm(cols, own_cols), of_vectors]
    return torch.cat([*parts, taps @ maps.taps.t()])


def _parameter_terms(maps: Maps, block: Block, means: Tensor, context: Tensor | None) -> Tensor:
    """Maps of means over each parameter and over the network, and of descriptors: `(p, o)`."""
    c, sizes = maps.in_channels, [block.num_weights, block.num_vectors]
    own, whole, given = maps.network.split([c, 2 * c, maps.network.shape[2] - 3 * c], 2)
    kinds = zip(means.split(sizes), own, maps.bias, strict=True)
    terms = torch.cat([bias.t().addmm(part, weight.t()) for part, weight, bias in kinds])
    if context is not None:
        described = zip(context.split(sizes), given, strict=True)
        terms = terms + torch.cat([part @ weight.t() for part, weight in described])
    network = block.networks.mean(means).view(-1, 2 * c) @ whole.flatten(0, 1).t()
    return terms + block.networks.spread(network.view(-1, maps.out_channels))
