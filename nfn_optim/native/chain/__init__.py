"""Losses of many networks, each a chain of layers, and their gradients in native code.

Shape legend: `n` networks, `p` particles, `b` samples of a network.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import Expected, Library, dense, fit, is_transformed, pointer, table
from ..population import Layer, read_layers

__all__ = ["LIBRARY", "Chain"]

_SOURCE = Path(str(files(__package__))) / "chain.cpp"
LIBRARY = Library(_SOURCE, is_threaded=False)


class _Task(ctypes.Structure):
    """`Task` of `chain.cpp`."""

    _fields_ = (
        ("layers", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("depth", "networks", "batches", "batch")),
        ("inputs", ctypes.c_void_p),
        ("targets", ctypes.c_void_p),
        ("has_classes", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Chain:
    """A network of layers one after another, and its loss.

    Attributes:
        layers: What native code has to know of each; all start at their own parameters.
        parameters: Names of each layer's weight and bias; a bias may be missing.
        stored: Shapes of these parameters.
        shape: Of one input.
        has_classes: Whether the loss is the mean cross-entropy of classes, else the mean square of
            errors.
    """

    layers: tuple[Layer, ...]
    parameters: tuple[tuple[str, str | None], ...]
    stored: Mapping[str, tuple[int, ...]]
    shape: tuple[int, ...]
    has_classes: bool

    @classmethod
    def of(cls, module: nn.Module, shape: Sequence[int], *, has_classes: bool) -> Chain | None:
        """That of a module, where `read_layers` knows it.

        Args:
            module: The network.
            shape: Of one input.
            has_classes: As above.
        """
        found = read_layers(module, shape)
        if found is None:
            return None
        layers = tuple(one.layer for one in found)
        names = tuple((one.weight, one.bias) for one in found)
        stored = {name: tuple(p.shape) for name, p in module.named_parameters()}
        return cls(layers, names, stored, tuple(shape), has_classes)

    def differentiate(
        self, params: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, *, back: bool
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Losses, and gradients with respect to all parameters if asked for.

        Args:
            params: Networks on a leading axis, `(n, *stored)` by name, or `(p, n, *stored)`.
            inputs: `(n, b, *shape)`.
            targets: Classes `(n, b)`, int64, or values `(n, b, out)`.
            back: Whether to find gradients.

        Returns:
            Losses `(n,)` or `(p, n)`, and gradients by name. None where torch has to compute them:
            for other parameters or tensors, for samples with a gradient, for classes without an
            output, in transforms, under autocast, and where native code cannot be had.
        """
        if params.keys() != self.stored.keys() or inputs.dim() != 2 + len(self.shape):
            return None
        first = next(iter(self.stored))
        lead = params[first].shape[: params[first].dim() - len(self.stored[first])]
        held = [*(params[name] for name in self.stored), inputs, targets]
        if not (1 <= len(lead) <= 2 and _are_known(held, self._expected(lead, inputs.shape[1]))):
            return None
        laid = dict(zip(self.stored, map(dense, held), strict=False))
        grads = {name: torch.empty_like(tensor) for name, tensor in laid.items()} if back else {}
        losses = torch.empty(lead, dtype=torch.float32, device="cpu")
        samples = [dense(tensor) for tensor in (inputs, targets)]
        task = _Task(
            ctypes.addressof(self._numbers),
            len(self.layers),
            lead.numel(),
            *inputs.shape[:2],
            *map(pointer, samples),
            self.has_classes,
        )
        is_done = ctypes.c_bool()
        LIBRARY.call(
            "nfn_chain",
            ctypes.byref(task),
            self._pointers(laid),
            self._pointers(grads) if back else None,
            ctypes.c_void_p(pointer(losses)),
            ctypes.byref(is_done),
        )
        return (losses, grads) if is_done.value else None

    @cached_property
    def _numbers(self) -> ctypes.Array[ctypes.c_char]:
        return table(array("q", [number for layer in self.layers for number in astuple(layer)]))

    def _expected(self, lead: Sequence[int], batch: int) -> list[Expected]:
        kind = torch.int64 if self.has_classes else torch.float32
        values = () if self.has_classes else (self.layers[-1].out,)
        return [
            *(Expected(name, (*lead, *shape)) for name, shape in self.stored.items()),
            Expected("inputs", (lead[-1], batch, *self.shape)),
            Expected("targets", (lead[-1], batch, *values), kind),
        ]

    def _pointers(self, tensors: Mapping[str, Tensor]) -> ctypes.Array[ctypes.c_char]:
        names = [name for pair in self.parameters for name in pair]
        return table(array("Q", [0 if n is None else pointer(tensors[n]) for n in names]))


def _are_known(held: list[Tensor], expected: list[Expected]) -> bool:
    """Whether native code may read these tensors, the last two of which are samples."""
    has_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in held[-2:])
    is_other = is_transformed() or torch.is_autocast_enabled("cpu") or has_gradient
    return not is_other and fit(held, expected) and held[-1].numel() > 0 and LIBRARY.can_load()
