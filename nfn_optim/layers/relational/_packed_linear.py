"""`SharedNPLinear` on packed networks: one product a map and block, whatever the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...symmetry import SpecError
from .._products import outer, product
from ._pack import Block, PackedFeatures
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


def packed_linear(
    layer: Maps,
    feats: PackedFeatures,
    context: Sequence[Mapping[str, Tensor]] | None,
) -> PackedFeatures:
    """The layer on packed networks; `context` has descriptors `(k,)` by name for each.

    Raises:
        SpecError: If channels or descriptors are not those that the layer was built for.
    """
    if feats.channels != layer.in_channels:
        raise SpecError(
            f"SharedNPLinear was built for {layer.in_channels} channels; the features have "
            f"{feats.channels}. Build the layer with in_channels={feats.channels}."
        )
    if (context is None) != (layer.context_channels == 0):
        got = "none" if context is None else "some"
        raise SpecError(
            f"SharedNPLinear was built for {layer.context_channels} descriptors a parameter; "
            f"forward got {got}. Give context, or build the layer with other context_channels."
        )
    known = None if context is None else feats.pack.stack(context)
    means = [block.slots.mean(x) for block, x in feats.blocks()]
    sizes = [
        _section_sizes(block, table) for block, table in zip(feats.pack.blocks, means, strict=True)
    ]
    terms = _terms(layer, feats.pack.whole, _by_section(means, sizes), known)
    blocks = zip(feats.blocks(), _by_block(terms, sizes), strict=True)
    return feats.like(
        [_Entries.apply(x, layer.entry, layer.vector, own, block) for (block, x), own in blocks]
    )


def _section_sizes(block: Block, slots: Tensor) -> list[int]:
    """Outputs of weights, inputs of weights, outputs of vectors, and what has taps."""
    return [*block.slot_sizes, len(slots) - sum(block.slot_sizes)]


def _by_section(tables: Sequence[Tensor], sizes: Sequence[list[int]]) -> Tensor:
    """Tables of slots as one, each section of all blocks in one piece."""
    if len(tables) == 1:
        return tables[0]
    parts = [table.split(own) for table, own in zip(tables, sizes, strict=True)]
    return torch.cat([part for section in zip(*parts, strict=True) for part in section])


def _by_block(table: Tensor, sizes: Sequence[list[int]]) -> list[Tensor]:
    """The inverse."""
    if len(sizes) == 1:
        return [table]
    parts = table.split([size for section in zip(*sizes, strict=True) for size in section])
    return [torch.cat(parts[place :: len(sizes)]) for place in range(len(sizes))]


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


class _Entries(torch.autograd.Function):
    """Maps entries of weights and of vectors, and adds the terms of their slots."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, entry: Tensor, vector: Tensor, terms: Tensor, block: Block
    ) -> Tensor:
        ctx.save_for_backward(x, entry, vector)
        ctx.block = block
        y, first = block.slots.back(terms), block.num_weight_entries
        y[:first] += product(x[:first], entry.t())
        y[first:] += product(x[first:], vector.t())
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, entry, vector = ctx.saved_tensors
        first, grad = ctx.block.num_weight_entries, grads[0].contiguous()
        weights, vectors = grad[:first], grad[first:]
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = product(grad, entry)  # of all, for there are few vectors
            grad_x[first:] = product(vectors, vector)
        grad_maps = outer(weights, x[:first]), outer(vectors, x[first:])
        return grad_x, *grad_maps, ctx.block.slots.sum(grad), None
