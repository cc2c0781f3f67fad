"""How one parameter is stored: in another shape or axis order than the one that a spec labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

Shape = tuple[int, ...]
Labels = tuple[str | None, ...]  # the populations that a parameter's axes run over


@dataclass(frozen=True)
class Storage:
    """Views a stored tensor as a spec labels its axes, and back; leading batch axes stay in front.

    Attributes:
        stored: Shape in the module's state dict.
        shape: Shape whose axes the spec labels.
        order: Which axis of the storage, split as `shape` is, each axis is; None where all stay.
    """

    stored: Shape
    shape: Shape
    order: Shape | None = None

    @property
    def is_plain(self) -> bool:
        """Whether tensors are stored as they are labelled."""
        return self.stored == self.shape and self.order is None

    def view(self, tensor: Tensor) -> Tensor:
        """`(*batch, *stored)` as `(*batch, *shape)`."""
        lead = tensor.shape[: tensor.dim() - len(self.stored)]
        tensor = tensor.reshape((*lead, *self._split()))
        return self._reorder(tensor, self.order, len(lead))

    def unview(self, tensor: Tensor) -> Tensor:
        """`(*batch, *shape)` as `(*batch, *stored)`."""
        lead = tensor.shape[: tensor.dim() - len(self.shape)]
        return self._reorder(tensor, self._inverse(), len(lead)).reshape((*lead, *self.stored))

    def _split(self) -> Shape:
        """Sizes of the axes in the order of the storage."""
        inverse = self._inverse()
        return self.shape if inverse is None else tuple(self.shape[axis] for axis in inverse)

    def _inverse(self) -> Shape | None:
        if self.order is None:
            return None
        return tuple(self.order.index(axis) for axis in range(len(self.order)))

    def _reorder(self, tensor: Tensor, order: Shape | None, lead: int) -> Tensor:
        if order is None:
            return tensor
        return tensor.permute(*range(lead), *(lead + axis for axis in order))
