"""`SharedNPLinear` on packed networks: what runs over all entries is native code where that can be.

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


def packed_linear(maps: Maps, feats: PackedFeatures, context: Tensor | None) -> PackedFeatures:
    """The layer on packed networks; `context` has descriptors `(parameters, k)`."""
    if not _can_be_native(maps, feats, context):
        return _by_torch(maps, feats, context)
    tensors = [*maps, *_if_any(context), *feats.tensors]
    is_taped = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return feats.like(_Linear.apply(feats.pack, is_taped, context, *maps, *feats.tensors))


def _by_torch(maps: Maps, feats: PackedFeatures, context: Tensor | None) -> PackedFeatures:
    """The same in torch operations, which all devices and types take."""
    means = [block.slots.mean(x) for block, x in feats.blocks()]
    sizes = [
        section_sizes(block, table) for block, table in zip(feats.pack.blocks, means, strict=True)
    ]
    terms = terms_of(maps, feats.pack.whole, by_section(means, sizes), context)
    blocks = zip(feats.blocks(), by_block(terms, sizes), strict=True)
    return feats.like(
        [map_entries(x, maps.entry, maps.vector, own, b, b.slots) for (b, x), own in blocks]
    )


def _can_be_native(maps: Maps, feats: PackedFeatures, context: Tensor | None) -> bool:
    """Whether all tensors are float32 in the CPU's memory, and native code can be had."""
    given = [*maps, *_if_any(context)]
    return (
        not is_transformed()
        and not torch.is_autocast_enabled("cpu")
        and fit(given, [Expected("", tuple(tensor.shape)) for tensor in given])
        and LIBRARY.can_load()
        and feats.pack.entries.fit(feats.tensors, maps.in_channels)
    )


class _Linear(torch.autograd.Function):
    """The layer; what lies between its two passes over all entries has a graph of its own."""

    @staticmethod
    def forward(
        ctx: Any, pack: Pack, is_taped: bool, context: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        maps, tables = _split(tensors)
        means = pack.entries.sum(tables).mul_(pack.shares)
        inner = [means, *maps, *_if_any(context)]
        if is_taped:
            inner = [tensor.detach().requires_grad_() for tensor in inner]
        with torch.set_grad_enabled(is_taped):
            terms = _terms(pack, inner)
        ctx.save_for_backward(*_if_any(context), *tensors)
        ctx.pack, ctx.has_context, ctx.inner, ctx.terms = pack, context is not None, inner, terms
        return tuple(pack.entries.map(tables, maps.entry.t(), maps.vector.t(), terms.detach()))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        context, tensors = None, ctx.saved_tensors
        if ctx.has_context:
            context, *tensors = tensors
        if torch.is_grad_enabled():  # the gradient itself is to have one
            return None, None, *_differentiable(ctx, context, tensors, grads)
        maps, tables = _split(tensors)
        entries, shares = ctx.pack.entries, ctx.pack.shares
        of_terms, of_entry, of_vector = entries.map_back(grads, tables)
        of_means, _, _, *rest = torch.autograd.grad(
            ctx.terms, ctx.inner, of_terms, retain_graph=True, allow_unused=True
        )
        of_tables: Sequence[Tensor | None] = [None] * len(tables)
        if any(ctx.needs_input_grad[-len(tables) :]):
            of_tables = entries.map(grads, maps.entry, maps.vector, of_means * shares)
        of_context = rest.pop() if ctx.has_context else None
        return None, None, of_context, of_entry, of_vector, *rest, *of_tables


def _differentiable(
    ctx: Any, context: Tensor | None, tensors: Sequence[Tensor], grads: Sequence[Tensor]
) -> list[Tensor | None]:
    """Gradients of context, maps and tables by torch operations, which have gradients."""
    inputs = [None if x is None else x.view_as(x) for x in (context, *tensors)]  # no other's inputs
    maps, tables = _split([x for x in inputs[1:] if x is not None])
    found = _by_torch(maps, PackedFeatures(ctx.pack, tables), inputs[0]).tensors
    wanted = {i: x for i, x in enumerate(inputs) if x is not None and x.requires_grad}
    gradients = torch.autograd.grad(
        found, [*wanted.values()], grads, create_graph=True, allow_unused=True
    )
    by_place = dict(zip(wanted, gradients, strict=True))
    return [by_place.get(i) for i in range(len(inputs))]


def _terms(pack: Pack, inner: Sequence[Tensor]) -> Tensor:
    """Of means, maps and context, if there is one."""
    means, *given = inner
    count = len(Maps._fields)
    context = given[count] if len(given) > count else None
    return terms_of(Maps(*given[:count]), pack.whole, means, context)


def _split(tensors: Sequence[Tensor]) -> tuple[Maps, Sequence[Tensor]]:
    count = len(Maps._fields)
    return Maps(*tensors[:count]), tensors[count:]


def _if_any(context: Tensor | None) -> list[Tensor]:
    return [] if context is None else [context]
