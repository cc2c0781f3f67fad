"""`SharedNPLinear` on packed networks: native code where that can be, or else torch operations.

Either way, means of rows, columns and taps are taken of all entries, tables of neurons and
parameters are mapped, and the result is added to the product of all entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...native import Expected, fit, is_transformed
from ...native.packed import LIBRARY
from ._pack import Pack, PackedFeatures
from ._packed_entries import by_block, by_section, map_entries
from ._packed_terms import Maps, section_sizes, terms_of


def packed_linear(maps: Maps, feats: PackedFeatures, given: Tensor) -> PackedFeatures:
    """The layer on packed networks; `given` is added to each parameter, `(parameters, o)`."""
    if not _can_be_native(maps, feats, given):
        return _by_torch(maps, feats, given)
    return feats.like(_Linear.apply(feats.pack, given, *maps, *feats.tensors))


def _by_torch(maps: Maps, feats: PackedFeatures, given: Tensor) -> PackedFeatures:
    """The same in torch operations, which all devices and types take."""
    means = [block.slots.mean(x) for block, x in feats.blocks()]
    sizes = [
        section_sizes(block, table) for block, table in zip(feats.pack.blocks, means, strict=True)
    ]
    terms = terms_of(maps, feats.pack.whole, by_section(means, sizes), given)
    blocks = zip(feats.blocks(), by_block(terms, sizes), strict=True)
    return feats.like(
        [map_entries(x, maps.entry, maps.vector, own, b, b.slots) for (b, x), own in blocks]
    )


def _can_be_native(maps: Maps, feats: PackedFeatures, given: Tensor) -> bool:
    """Whether all tensors are float32 in the CPU's memory, and native code can be had."""
    others = [*maps, given]
    return (
        not is_transformed()
        and not torch.is_autocast_enabled("cpu")
        and fit(others, [Expected("", tuple(tensor.shape)) for tensor in others])
        and LIBRARY.can_load()
        and feats.pack.native.fit(feats.tensors, maps.in_channels)
    )


class _Linear(torch.autograd.Function):
    """The layer in native code."""

    @staticmethod
    def forward(ctx: Any, pack: Pack, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.pack = pack
        ctx.save_for_backward(*tensors)
        given, maps, tables = _split(tensors)
        return tuple(pack.native.map(tables, maps, given))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the gradient itself is to have one
            return None, *_differentiable(ctx.pack, ctx.saved_tensors, grads)
        _, maps, tables = _split(ctx.saved_tensors)
        has_tables = any(ctx.needs_input_grad[-len(tables) :])
        of_maps, of_given, of_tables = ctx.pack.native.map_back(
            grads, tables, maps, with_tables=has_tables
        )
        return None, of_given, *of_maps, *of_tables


def _differentiable(
    pack: Pack, tensors: Sequence[Tensor], grads: Sequence[Tensor]
) -> list[Tensor | None]:
    """Gradients of all tensors by torch operations, which have gradients."""
    inputs = [tensor.view_as(tensor) for tensor in tensors]  # no other's inputs
    given, maps, tables = _split(inputs)
    found = _by_torch(maps, PackedFeatures(pack, tables), given).tensors
    wanted = {i: x for i, x in enumerate(inputs) if x.requires_grad}
    gradients = torch.autograd.grad(
        found, [*wanted.values()], grads, create_graph=True, allow_unused=True
    )
    by_place = dict(zip(wanted, gradients, strict=True))
    return [by_place.get(i) for i in range(len(inputs))]


def _split(tensors: Sequence[Tensor]) -> tuple[Tensor, Maps, Sequence[Tensor]]:
    given, *others = tensors
    count = len(Maps._fields)
    return given, Maps(*others[:count]), others[count:]
