"""The arithmetic of a derived layer: gather averages, one matrix product a level, scatter back.

`gather` averages parameters to every level; `scatter` multiplies each level by its weight and adds
the result of smaller levels to larger ones by broadcasting, vectors first, so that a weight-sized
tensor is written once and then accumulated into by its matrix product. The adjoint of averaging and
broadcasting is broadcasting shares and summing, so the backward pass is the same two steps.

Shapes: levels `(B, *n, width*c)`; level weights `(width*c_in, width*c_out)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ._plan import Own, Plan, Pooled


@dataclass(frozen=True)
class Mixer:
    """What the arithmetic needs besides tensors.

    Attributes:
        plan: The plan of the spec's group.
        in_channels: Channels read.
        out_channels: Channels written.
        adjoint: Whether this is the adjoint of a layer: sums instead of averages are gathered, and
            shares scattered.
    """

    plan: Plan
    in_channels: int
    out_channels: int
    adjoint: bool = False

    @cached_property
    def transposed(self) -> Mixer:
        """The mixer of the adjoint map."""
        return Mixer(self.plan, self.out_channels, self.in_channels, not self.adjoint)

    @property
    def num_params(self) -> int:
        """Number of parameters of the network."""
        return len(self.plan.folds)


def gather(mixer: Mixer, tensors: Sequence[Tensor]) -> list[Tensor]:
    """All levels, in the plan's order."""
    plan, channels = mixer.plan, mixer.in_channels
    reduce = torch.sum if mixer.adjoint else torch.mean
    levels: list[Tensor] = []
    for level in plan.levels:
        pieces = []
        for source in level.sources:
            if isinstance(source, Own):
                pieces.append(plan.folds[source.param].fold(tensors[source.param]))
            else:
                columns = _columns(levels[source.parent], source, channels)
                pieces.append(reduce(columns, source.dim))
        levels.append(pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1))
    return levels


def scatter(
    mixer: Mixer,
    levels: Sequence[Tensor],
    weights: Sequence[Tensor],
    batch: Sequence[int],
    *,
    bias: Tensor | None = None,
    in_place: bool,
) -> tuple[Tensor, ...]:
    """Multiplies every level by its weight and adds smaller levels to larger ones.

    Args:
        mixer: The plan and the channels of the result.
        levels: What was gathered.
        weights: One `(width*c_in, width*c_out)` a level.
        batch: The batch shape of the result.
        bias: Added to the last level.
        in_place: Whether a product may accumulate into the broadcast it is added to.

    Returns:
        One `(*batch, *axes, c_out)` a parameter.
    """
    plan, channels = mixer.plan, mixer.out_channels
    results: list[Tensor] = [levels[0]] * mixer.num_params
    waiting: list[list[Broadcast]] = [[] for _ in levels]
    for index in reversed(range(len(levels))):
        sources, x, weight = plan.levels[index].sources, levels[index], weights[index]
        whole = [part for part in waiting[index] if part.source.whole]
        if bias is not None and index == len(levels) - 1:
            level = torch.addmm(bias, x, weight)
        else:
            level = _product(x, weight, whole, in_place=in_place)
        for part in waiting[index]:
            if not part.source.whole:
                columns = _columns(level, part.source, channels)
                columns.add_(part.tensor, alpha=part.share)
        widths = [source.width * channels for source in sources]
        pieces = level.split_with_sizes(widths, -1) if len(widths) > 1 else (level,)
        for source, piece in zip(sources, pieces, strict=True):
            if isinstance(source, Own):
                results[source.param] = plan.folds[source.param].unfold(piece, batch)
            else:
                share = 1 / source.size if mixer.adjoint else 1.0
                broadcast = Broadcast(source, piece.unsqueeze(source.dim), share)
                waiting[source.parent].append(broadcast)
    return tuple(results)


class Broadcast(NamedTuple):
    """`share * tensor`, on its way to the columns of a larger level."""

    source: Pooled
    tensor: Tensor
    share: float


def _product(x: Tensor, weight: Tensor, added: Sequence[Broadcast], *, in_place: bool) -> Tensor:
    """`x @ weight` plus what is broadcast to all its columns."""
    if not added:
        return x.matmul(weight)
    first, *others = added
    if not others:
        result = x.matmul(weight)
        if in_place:
            return result.add_(first.tensor, alpha=first.share)
        return torch.add(result, first.tensor, alpha=first.share)
    context = first.tensor if first.share == 1 else first.tensor * first.share
    for other in others:
        context = torch.add(context, other.tensor, alpha=other.share)
    flat = context.flatten(0, -2)
    if in_place:
        flat.addmm_(x.flatten(0, -2), weight)
        return context
    return torch.addmm(flat, x.flatten(0, -2), weight).view(context.shape)


def _columns(level: Tensor, source: Pooled, channels: int) -> Tensor:
    if source.whole:
        return level
    return level.narrow(-1, source.start * channels, source.width * channels)


def batch_of(plan: Plan, tensor: Tensor) -> torch.Size:
    """The batch axes of the first parameter's features, which all parameters share."""
    return tensor.shape[: tensor.dim() - 1 - len(plan.folds[0].shape)]
