"""What layers on packed networks share: the product of all entries, and tables block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._products import add_product, outer, product
from ._links import Links
from ._pack import Block


def map_entries(
    x: Tensor, weight: Tensor, vector: Tensor, terms: Tensor, block: Block, links: Links
) -> Tensor:
    """Maps entries, and adds terms of what they belong to.

    Args:
        x: Entries of a block, `(entries, c)`.
        weight: Maps those of weights, `(o, c)`.
        vector: Maps those of vectors.
        terms: `(t, o)`.
        block: The block.
        links: From entries to the rows of `terms`.
    """
    added = (tensor.to(x.dtype) for tensor in (weight, vector, terms))  # autocast made terms short
    mapped: Tensor = _Entries.apply(x, *added, block.num_weight_entries, links)
    return mapped


def by_section(tables: Sequence[Tensor], sizes: Sequence[list[int]]) -> Tensor:
    """Tables of blocks as one, each section of all blocks in one piece.

    Args:
        tables: One for each block.
        sizes: Of the sections of each.
    """
    if len(tables) == 1:
        return tables[0]
    parts = [table.split(own) for table, own in zip(tables, sizes, strict=True)]
    return torch.cat([part for section in zip(*parts, strict=True) for part in section])


def by_block(table: Tensor, sizes: Sequence[list[int]]) -> list[Tensor]:
    """The inverse."""
    if len(sizes) == 1:
        return [table]
    parts = table.split([size for section in zip(*sizes, strict=True) for size in section])
    return [torch.cat(parts[place :: len(sizes)]) for place in range(len(sizes))]


class _Entries(torch.autograd.Function):
    """See `map_entries`; entries are of weights up to the `first` of vectors."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        vector: Tensor,
        terms: Tensor,
        first: int,
        links: Links,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, vector)
        ctx.first, ctx.links = first, links
        y = links.back(terms)
        add_product(y[:first], x[:first], weight.t())
        add_product(y[first:], x[first:], vector.t())
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, vector = ctx.saved_tensors
        first, grad = ctx.first, grads[0].contiguous()
        weights, vectors = grad[:first], grad[first:]
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = product(grad, weight)  # of all, for there are few vectors
            grad_x[first:] = product(vectors, vector)
        grad_maps = outer(weights, x[:first]), outer(vectors, x[first:])
        return grad_x, *grad_maps, ctx.links.sum(grad), None, None
