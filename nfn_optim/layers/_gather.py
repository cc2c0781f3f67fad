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

from ._plan import Own, Plan


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
    folded = [fold.fold(tensor) for fold, tensor in zip(plan.folds, tensors, strict=True)]
    levels: list[Tensor] = []
    for level in plan.levels:
        pieces = [
            folded[source.param]
            if isinstance(source, Own)
            else _columns(levels[source.parent], source.start, source.stop, channels).sum(
                source.dim
            )
            for source in level.sources
        ]
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
    mixed: list[Tensor] = [products[0].x] * len(products)
    for index in reversed(range(len(products))):
        level = plan.levels[index]
        whole: list[Tensor] = []
        partial: list[tuple[int, int, Tensor]] = []
        for lower, source in plan.feeds[index]:
            piece = _columns(mixed[lower], source.at, source.at + source.width, channels)
            piece = piece.unsqueeze(source.dim)
            if source.width == level.width:
                whole.append(piece)
            else:
                partial.append((source.start, source.stop, piece))
        result = products[index].added_to(whole, in_place=in_place)
        for start, stop, piece in partial:
            _columns(result, start, stop, channels).add_(piece)
        mixed[index] = result
    return tuple(_pick(mixer, mixed, param, batch) for param in range(mixer.num_params))


@dataclass(frozen=True)
class Product:
    """A matrix product that is yet to be evaluated: `(x * before) @ weight * after + bias`."""

    x: Tensor
    weight: Tensor
    after: Tensor | None = None
    bias: Tensor | None = None

    def evaluate(self) -> Tensor:
        flat = self.x.reshape(-1, self.x.shape[-1])
        if self.bias is None:
            result = flat @ self.weight
        else:
            result = torch.addmm(self.bias, flat, self.weight)
        if self.after is not None:
            result = result * self.after
        return result.reshape(*self.x.shape[:-1], self.weight.shape[1])

    def added_to(self, pieces: Sequence[Tensor], *, in_place: bool) -> Tensor:
        if len(pieces) < 2 or self.after is not None:
            return sum(pieces, self.evaluate())
        context = sum(pieces[2:], pieces[0] + pieces[1])
        flat = context.reshape(-1, context.shape[-1])
        multiply = flat.addmm_ if in_place else flat.addmm
        return multiply(self.x.reshape(-1, self.x.shape[-1]), self.weight).reshape(context.shape)


def _columns(tensor: Tensor, start: int, stop: int, channels: int) -> Tensor:
    if (stop - start) * channels == tensor.shape[-1]:
        return tensor
    return tensor[..., start * channels : stop * channels]


def _pick(mixer: Mixer, mixed: Sequence[Tensor], param: int, batch: Sequence[int]) -> Tensor:
    """One parameter's columns at its own level."""
    home = mixer.plan.homes[param]
    columns = mixer.plan.levels[home].columns(param)
    own = _columns(mixed[home], columns.start, columns.stop, mixer.out_channels)
    return mixer.plan.folds[param].unfold(own, batch)


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
