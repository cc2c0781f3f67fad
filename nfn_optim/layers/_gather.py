"""The arithmetic of a derived layer: gather sums, one matrix product a level, scatter back.

`gather` sums parameters to every level; `scatter` multiplies each level by its weight and adds the
result of smaller levels to larger ones by broadcasting, vectors first, so that a weight-sized
tensor is written once and then accumulated into by its matrix product. Sums become averages by one
factor per column. Gather and scatter are each other's adjoint, which is all the backward pass is.

Shapes: level tensors `(B, *n, width*c)`; level weights `(width*c_in, width*c_out)`; level factors
`(width*c_in,)`, or None at a level where nothing is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._plan import Own, Plan, Pooled


@dataclass(frozen=True)
class Mixer:
    """What the arithmetic needs besides tensors: the plan and the channels on both sides."""

    plan: Plan
    in_channels: int
    out_channels: int

    @property
    def transposed(self) -> Mixer:
        """The mixer of the adjoint map."""
        return Mixer(self.plan, self.out_channels, self.in_channels)

    @property
    def num_params(self) -> int:
        """Number of parameters of the network."""
        return len(self.plan.folds)


def counts(mixer: Mixer) -> Tensor:
    """The number of entries averaged, for all columns of all levels side by side."""
    values = [
        count
        for level in mixer.plan.levels
        for member, count in zip(level.members, level.counts, strict=True)
        for _ in range(mixer.plan.folds[member].width * mixer.in_channels)
    ]
    return torch.tensor(values)


def gather(mixer: Mixer, tensors: Sequence[Tensor]) -> list[Tensor]:
    """All levels' sums, in the plan's order."""
    plan, channels = mixer.plan, mixer.in_channels
    levels: list[Tensor] = []
    for level in plan.levels:
        pieces = []
        for source in level.sources:
            if isinstance(source, Own):
                pieces.append(plan.folds[source.param].fold(tensors[source.param]))
            else:
                columns = _columns(levels[source.parent], source, channels)
                pieces.append(columns.sum(source.dim))
        levels.append(pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1))
    return levels


def scatter(
    mixer: Mixer, products: Sequence[Product], batch: Sequence[int], *, in_place: bool
) -> tuple[Tensor, ...]:
    """Evaluates every level's product and adds smaller levels to larger ones.

    Args:
        mixer: The plan and the channels of the result.
        products: One a level.
        batch: The batch shape of the result.
        in_place: Whether a product may accumulate into the broadcast it is added to.

    Returns:
        One `(*batch, *axes, c_out)` a parameter.
    """
    plan, channels = mixer.plan, mixer.out_channels
    results: list[Tensor] = [products[0].x] * mixer.num_params
    waiting: list[list[tuple[Pooled, Tensor]]] = [[] for _ in products]
    for index in reversed(range(len(products))):
        sources = plan.levels[index].sources
        whole = [piece for part, piece in waiting[index] if part.whole]
        level = products[index].added_to(whole, in_place=in_place)
        for part, piece in waiting[index]:
            if not part.whole:
                _columns(level, part, channels).add_(piece)
        widths = [source.width * channels for source in sources]
        pieces = torch.split_with_sizes(level, widths, dim=-1) if len(widths) > 1 else (level,)
        for source, piece in zip(sources, pieces, strict=True):
            if isinstance(source, Own):
                results[source.param] = plan.folds[source.param].unfold(piece, batch)
            else:
                waiting[source.parent].append((source, piece.unsqueeze(source.dim)))
    return tuple(results)


@dataclass(frozen=True)
class Product:
    """A matrix product that is yet to be evaluated: `x @ weight * after + bias`."""

    x: Tensor
    weight: Tensor
    after: Tensor | None = None
    bias: Tensor | None = None

    def evaluate(self) -> Tensor:
        """The product by itself, `(B, *n, columns of the weight)`."""
        if self.bias is not None:
            return torch.addmm(self.bias, self.x, self.weight)
        result = self.x.matmul(self.weight)
        return result if self.after is None else result * self.after

    def added_to(self, pieces: Sequence[Tensor], *, in_place: bool) -> Tensor:
        """The product plus tensors that broadcast to its shape."""
        if len(pieces) < 2 or self.after is not None:
            return sum(pieces, self.evaluate())
        context = sum(pieces[2:], pieces[0] + pieces[1])
        flat, x = context.flatten(0, -2), self.x.flatten(0, -2)
        if in_place:
            flat.addmm_(x, self.weight)
            return context
        return torch.addmm(flat, x, self.weight).view(context.shape)


def _columns(level: Tensor, source: Pooled, channels: int) -> Tensor:
    if source.whole:
        return level
    return level.narrow(-1, source.start * channels, source.width * channels)


def batch_of(plan: Plan, tensor: Tensor) -> torch.Size:
    """The batch axes of the first parameter's features, which all parameters share."""
    return tensor.shape[: tensor.dim() - 1 - len(plan.folds[0].shape)]


def split_factor(mixer: Mixer, factor: Tensor) -> list[Tensor | None]:
    """The factors of each level, None where all are one."""
    pieces = factor.split([level.width * mixer.in_channels for level in mixer.plan.levels])
    return [
        None if all(count == 1 for count in level.counts) else piece
        for level, piece in zip(mixer.plan.levels, pieces, strict=True)
    ]
