"""One parameter's features with its fixed axes folded into channels.

Under the group at hand an axis is either labelled by a population that is permuted, or fixed (label
None: kernel taps, positions after a Flatten, inputs and outputs under HNP). A layer may treat every
index of a fixed axis differently, so fixed axes act as further channels (NFN section 2.2 does this
for kernels). Shape legend: `B` all batch axes flattened, `*n` one axis a label, `f` folded fixed
entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from ..symmetry import NetworkSpec, Shape


def population_order(spec: NetworkSpec) -> dict[str, int]:
    """Ranks all permuted populations, following the order of parameters' own axes if possible."""
    order: list[str] = []
    for name in spec.names:
        labels = [label for label in spec.labels(name) if label is not None]
        for position, label in enumerate(labels):
            if label not in order:
                later = [order.index(other) for other in labels[position + 1 :] if other in order]
                order.insert(min(later, default=len(order)), label)
    return {label: rank for rank, label in enumerate(order)}


@dataclass(frozen=True)
class Fold:
    """How one parameter is viewed as `(B, *n, f*c)` and back.

    Attributes:
        name: The parameter.
        labels: Its permuted populations, in the layer's canonical order.
        sizes: Their numbers of neurons.
        shape: All axes as the features store them.
        fixed: Sizes of its fixed axes, in order.
        order: Axes in folded order (labelled ones first), or None where nothing moves.
    """

    name: str
    labels: tuple[str, ...]
    sizes: Shape
    shape: Shape
    fixed: Shape
    order: Shape | None

    @classmethod
    def of(cls, spec: NetworkSpec, name: str, rank: dict[str, int]) -> Fold:
        """The fold of one parameter of a spec; `rank` orders the populations."""
        labels, shape = spec.labels(name), spec.shapes[name]
        moving = [axis for axis, label in enumerate(labels) if label is not None]
        moving.sort(key=lambda axis: rank[str(labels[axis])])
        still = [axis for axis, label in enumerate(labels) if label is None]
        order = (*moving, *still)
        return cls(
            name,
            tuple(str(labels[axis]) for axis in moving),
            tuple(shape[axis] for axis in moving),
            shape,
            tuple(shape[axis] for axis in still),
            None if order == tuple(range(len(shape))) else order,
        )

    @property
    def width(self) -> int:
        """Number of folded fixed entries: channels are multiplied by it."""
        return prod(self.fixed)

    def fold(self, tensor: Tensor) -> Tensor:
        """`(*batch, *axes, c)` as `(B, *n, f*c)`."""
        if not self.fixed and tensor.dim() == 2 + len(self.shape) and self.order is None:
            return tensor
        channels = tensor.shape[-1]
        batch = prod(tensor.shape[: tensor.dim() - 1 - len(self.shape)])
        if self.order is not None:
            tensor = tensor.reshape(batch, *self.shape, channels)
            tensor = tensor.permute(0, *(axis + 1 for axis in self.order), -1)
        return tensor.reshape(batch, *self.sizes, self.width * channels)

    def unfold(self, tensor: Tensor, batch: Sequence[int]) -> Tensor:
        """`(B, *n, f*c)` as `(*batch, *axes, c)`, the inverse of `fold`."""
        if not self.fixed and len(batch) == 1 and self.order is None:
            return tensor
        channels = tensor.shape[-1] // self.width
        lead = len(batch)
        tensor = tensor.reshape(*batch, *self.sizes, *self.fixed, channels)
        if self.order is None:
            return tensor
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        return tensor.permute(*range(lead), *(lead + axis for axis in back), -1)


def folds(spec: NetworkSpec) -> tuple[Fold, ...]:
    """The folds of all parameters of a spec, in its order."""
    rank = population_order(spec)
    return tuple(Fold.of(spec, name, rank) for name in spec.names)
