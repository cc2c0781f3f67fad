"""What neurons, parameters and networks add to the entries of packed networks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._pack import Block
from ._roles import NUM_ROLES


class Maps(NamedTuple):
    """The weights of a `SharedNPLinear` that map means, in the order of the layer.

    `network` reads means over each parameter and over the network, `(2, o, 3 c)`.
    """

    entry: Tensor
    vector: Tensor
    taps: Tensor
    own: Tensor
    neurons: Tensor
    network: Tensor

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


def described(block: Block, bias: Tensor, weight: Tensor, context: Tensor | None) -> Tensor:
    """Biases `(2, o, 1)` and maps `(2, o, k)` of descriptors of each parameter: `(parameters, o)`.

    Args:
        block: All networks.
        bias: Of weights and of vectors.
        weight: Maps descriptors of weights and of vectors.
        context: Descriptors `(parameters, k)`.
    """
    sizes = [block.num_weights, block.num_vectors]
    terms = torch.cat([own.t().expand(size, -1) for own, size in zip(bias, sizes, strict=True)])
    if context is None:
        return terms
    kinds = zip(context.split(sizes), weight, strict=True)
    return terms + torch.cat([part @ own.t() for part, own in kinds])


def terms_of(maps: Maps, block: Block, pooled: Tensor, given: Tensor) -> Tensor:
    """What is added to the entries of each slot, `(slots, o)`.

    Args:
        maps: The weights.
        block: All networks.
        pooled: Means of each slot, `(slots, c)`.
        given: What is `described` of each parameter, `(parameters, o)`.
    """
    sizes = section_sizes(block, pooled)
    rows, cols, _, taps = pooled.split(sizes)
    means = block.owners.mean(pooled[: sum(block.slot_sizes)])
    neurons, parameters = means.split([len(means) - len(given), len(given)])
    mapped = neurons.view(-1, NUM_ROLES * maps.in_channels) @ maps.neurons.t()
    known = given + _parameter_terms(maps, block, parameters)
    terms = block.owners.spread(torch.cat([mapped.view(-1, maps.out_channels), known]))
    of_rows, of_cols, of_vectors = terms.split(sizes[:3])
    own_rows, own_cols = maps.own.transpose(1, 2)
    parts = [of_rows.addmm(rows, own_rows), of_cols.addmm(cols, own_cols), of_vectors]
    return torch.cat([*parts, taps @ maps.taps.t()])


def _parameter_terms(maps: Maps, block: Block, means: Tensor) -> Tensor:
    """Maps of means over each parameter and over the network: `(parameters, o)`."""
    c = maps.in_channels
    own, whole = maps.network.split([c, 2 * c], 2)
    kinds = zip(means.split([block.num_weights, block.num_vectors]), own, strict=True)
    terms = torch.cat([part @ weight.t() for part, weight in kinds])
    network = block.networks.mean(means).view(-1, 2 * c) @ whole.flatten(0, 1).t()
    return terms + block.networks.spread(network.view(-1, maps.out_channels))
