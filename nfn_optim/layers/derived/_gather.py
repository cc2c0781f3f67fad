"""The arithmetic of a derived layer: gather averages, one matrix product a level, scatter back.

`gather` averages parameters to every level; `scatter` multiplies each level by its weight and adds
the result of smaller levels to larger ones by broadcasting, vectors first, so that a weight-sized
tensor is written once and then accumulated into by its matrix product. The adjoint of averaging and
broadcasting is broadcasting shares and summing, so the backward pass is the same two steps.

Shapes: levels `(B, *n, width*c)`; level weights `(width*c_in, width*c_out)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .._products import is_long, product
from ._plan import Own, Plan, Pooled


class Write(NamedTuple):
    """What a smaller level adds to columns of a larger one: `share` of a piece of its result.

    The piece is broadcast along `dim`, onto `width` columns from `start`.
    """

    level: int
    piece: int
    dim: int
    share: float
    start: int
    width: int


class Step(NamedTuple):
    """What is done with the result of one level.

    `whole` is added to all of its columns and `parts` to some. Its columns are then split by
    `widths`; `own` has the pieces that are parameters' results: `(piece, parameter)`.
    """

    whole: tuple[Write, ...]
    parts: tuple[Write, ...]
    widths: tuple[int, ...]
    own: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Mixer:
    """What the arithmetic needs besides tensors.

    Attributes:
        plan: The plan of the spec's group.
        in_channels: Channels read.
        out_channels: Channels written.
        adjoint: Whether this is the adjoint of a layer: sums instead of averages are gathered, and
            shares scattered.
        steps: How results are scattered, one step a level in the plan's order.
    """

    plan: Plan
    in_channels: int
    out_channels: int
    adjoint: bool = False
    steps: tuple[Step, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Works the steps out at once: a compiler cannot trace a property that remembers them."""
        object.__setattr__(self, "steps", self._steps())

    @cached_property
    def transposed(self) -> Mixer:
        """The mixer of the adjoint map."""
        return Mixer(self.plan, self.out_channels, self.in_channels, not self.adjoint)

    def _steps(self) -> tuple[Step, ...]:
        channels, levels = self.out_channels, self.plan.levels
        writes: list[list[tuple[bool, Write]]] = [[] for _ in levels]
        for index, level in enumerate(levels):
            for piece, source in enumerate(level.sources):
                if isinstance(source, Pooled):
                    share = 1 / source.size if self.adjoint else 1.0
                    columns = source.start * channels, source.width * channels
                    write = Write(index, piece, source.dim, share, *columns)
                    writes[source.parent].append((source.whole, write))
        return tuple(
            Step(
                tuple(write for whole, write in added if whole),
                tuple(write for whole, write in added if not whole),
                tuple(source.width * channels for source in level.sources),
                tuple((i, s.param) for i, s in enumerate(level.sources) if isinstance(s, Own)),
            )
            for level, added in zip(levels, writes, strict=True)
        )

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
    folds, last = mixer.plan.folds, len(levels) - 1
    results: list[Tensor] = [levels[0]] * mixer.num_params
    pieces: list[Sequence[Tensor]] = [()] * len(levels)
    for index in range(last, -1, -1):
        step, x, weight = mixer.steps[index], levels[index], weights[index]
        if bias is not None and index == last:
            level = torch.addmm(bias, x, weight)
        else:
            whole = [pieces[write.level][write.piece].unsqueeze(write.dim) for write in step.whole]
            level = _product(x, weight, whole, step.whole, in_place=in_place)
        for write in step.parts:
            added = pieces[write.level][write.piece].unsqueeze(write.dim)
            level.narrow(-1, write.start, write.width).add_(added, alpha=write.share)
        pieces[index] = level.split_with_sizes(step.widths, -1) if step.widths[1:] else (level,)
        for piece, param in step.own:
            results[param] = folds[param].unfold(pieces[index][piece], batch)
    return tuple(results)


def _product(
    x: Tensor, weight: Tensor, added: list[Tensor], writes: Sequence[Write], *, in_place: bool
) -> Tensor:
    """`x @ weight` plus shares of what is broadcast to all its columns."""
    if len(added) < 2 or (in_place and is_long(x, weight.shape[1])):
        level = product(x, weight) if in_place else x.matmul(weight)
        for tensor, write in zip(added, writes, strict=True):
            add = level.add_ if in_place else level.add
            level = add(tensor, alpha=write.share)
        return level
    context, share = added[0], writes[0].share
    for tensor, write in zip(added[1:], writes[1:], strict=True):
        context = torch.add(context, tensor, alpha=write.share / share)
    flat, rows = context.flatten(0, -2), x.flatten(0, -2)
    if in_place:
        flat.addmm_(rows, weight, beta=share)
        return context
    return torch.addmm(flat, rows, weight, beta=share).view(context.shape)


def _columns(level: Tensor, source: Pooled, channels: int) -> Tensor:
    if source.whole:
        return level
    return level.narrow(-1, source.start * channels, source.width * channels)


def batch_of(plan: Plan, tensor: Tensor) -> torch.Size:
    """The batch axes of the first parameter's features, which all parameters share."""
    return tensor.shape[: tensor.dim() - 1 - len(plan.folds[0].shape)]
