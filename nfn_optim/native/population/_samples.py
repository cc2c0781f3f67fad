"""Tensors as native code reads them: of its types, of the shapes that it is told, and dense."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import Expected, check, dense
from ._program import Program


@dataclass(frozen=True, eq=False)
class Samples:
    """What networks learn from.

    Attributes:
        inputs: Float32 samples `(m, *shape)` of all networks, or of each `(n, m, *shape)`.
        targets: Classes `(m,)`, int64, for the mean cross-entropy; or values `(n, m, out)`,
            float32, for the mean square of errors.
        l2: Coefficients `(n,)` of the squared weights in the loss; None is none.
        masks: Factors `(n, d)` of the weights; None is none.
    """

    inputs: Tensor
    targets: Tensor
    l2: Tensor | None = None
    masks: Tensor | None = None

    @property
    def has_classes(self) -> bool:
        """Whether the targets are classes."""
        return self.targets.dtype == torch.int64

    def read(self, program: Program, n: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets for `n` networks that draw the samples `index`.

        Raises:
            IndexError: If a sample is drawn that there is not, or it has a class without an output.
            ValueError: If the tensors are not what the network asks for.
        """
        own = self.inputs.dim() > 1 + len(program.shape)
        m = self.inputs.shape[int(own)]
        inputs = read("inputs", self.inputs, (*((n,) if own else ()), m, *program.shape))
        _check_range(index, m, "samples")
        if not self.has_classes:
            return inputs, read("targets", self.targets, (n, m, program.out))
        _check_range(self.targets, program.out, "classes")
        return inputs, read("classes", self.targets, (m,), torch.int64)


def read(
    name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Tensor:
    """A tensor, or one number for all of its entries, in the type that native code reads.

    Raises:
        ValueError: If it has another shape.
    """
    there = tensor.detach().to("cpu", dtype)
    there = there.reshape(()).expand(shape) if there.numel() == 1 else there
    check([there], [Expected(name, shape, dtype)])
    return dense(there)


def _check_range(numbers: Tensor, count: int, what: str) -> None:
    if numbers.numel():
        low, high = map(int, numbers.aminmax())
        if low < 0 or high >= count:
            raise IndexError(f"there are {count} {what}; got {low if low < 0 else high}.")
