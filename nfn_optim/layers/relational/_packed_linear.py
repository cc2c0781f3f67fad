"""`SharedNPLinear` on packed networks: one product a map and block, whatever the networks."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from ._pack import Block, PackedFeatures
from ._packed_entries import by_block, by_section, map_entries
from ._roles import NUM_ROLES


class Maps(Protocol):
    """The weights of a `SharedNPLinear`."""

    in_channels: int
    out_channels: int
    context_channels: int
    entry: nn.Parameter
    vector: nn.Parameter
    taps: nn.Parameter
    own: nn.Parameter
    neurons: nn.Parameter
    network: nn.Parameter
    bias: nn.Parameter


def packed_linear(layer: Maps, feats: PackedFeatures, context: Tensor | None) -> PackedFeatures:
    """The layer on packed networks; `context` has descriptors `(parameters, k)`."""
    means = [block.slots.mean(x) for block, x in feats.blocks()]
    sizes = [
        _section_sizes(block, table) for block, table in zip(feats.pack.blocks, means, strict=True)
    ]
    terms = _terms(layer, feats.pack.whole, by_section(means, sizes), context)
    blocks = zip(feats.blocks(), by_block(terms, sizes), strict=True)
    return feats.like(
        [
            map_entries(x, layer.entry, layer.vector, own, block, block.slots)
            for (block, x), own in blocks
        ]
    )


def _section_sizes(block: Block, slots: Tensor) -> list[int]:
    """Of slots: outputs of weights, inputs of weights, outputs of vectors, and what has taps."""
    return [*block.slot_sizes, len(slots) - sum(block.slot_sizes)]


def _terms(layer: Maps, block: Block, pooled: Tensor, context: Tensor | None) -> Tensor:
    """What is added to the entries of each slot, `(slots, o)`."""
    sizes = _section_sizes(block, pooled)
    rows, cols, _, taps = pooled.split(sizes)
    means = block.owners.mean(pooled[: sum(block.slot_sizes)])
    num_parameters = block.num_weights + block.num_vectors
    neurons, parameters = means.split([len(means) - num_parameters, num_parameters])
    mapped = neurons.view(-1, NUM_ROLES * layer.in_channels) @ layer.neurons.t()
    known = _parameter_terms(layer, block, parameters, context)
    terms = block.owners.spread(torch.cat([mapped.view(-1, layer.out_channels), known]))
    of_rows, of_cols, of_vectors = terms.split(sizes[:3])
    own_rows, own_cols = layer.own.transpose(1, 2)
    parts = [of_rows.addmm(rows, own_rows), of_cols.addmm(cols, own_cols), of_vectors]
    return torch.cat([*parts, taps @ layer.taps.t()])


def _parameter_terms(layer: Maps, block: Block, means: Tensor, context: Tensor | None) -> Tensor:
    """Maps of means over each parameter and over the network, and of descriptors: `(p, o)`."""
    c, sizes = layer.in_channels, [block.num_weights, block.num_vectors]
    own, whole, given = layer.network.split([c, 2 * c, layer.context_channels], 2)
    kinds = zip(means.split(sizes), own, layer.bias, strict=True)
    terms = torch.cat([bias.t().addmm(part, weight.t()) for part, weight, bias in kinds])
    if context is not None:
        described = zip(context.split(sizes), given, strict=True)
        terms = terms + torch.cat([part @ weight.t() for part, weight in described])
    network = block.networks.mean(means).view(-1, 2 * c) @ whole.flatten(0, 1).t()
    return terms + block.networks.spread(network.view(-1, layer.out_channels))
