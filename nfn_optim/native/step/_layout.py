"""What the native step is told of a network: numbers, and shapes of tensors."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from torch import Tensor

from ...layers.relational import ParameterAxes, Roles, roles_of
from ...rules import Params, Spectral, constants, default_sizes, log_fans
from ...symmetry import Matrices, NetworkSpec, Shape
from .. import Expected, dense

SLOTS = ("momenta", "square", "lead", *constants.SCALARS)


@dataclass(frozen=True)
class Layout:
    """A network as numbers, and what its tensors are.

    Attributes:
        spec: The network, with every parameter's axes in the order of the native step.
        names: Parameters in the order of the native step.
        numbers: Eleven of each parameter.
        fans: Five of each parameter: `log_fans`, its weights' size by default, and its log share.
        sizes: Neurons of each population.
        tensors: Value, gradient and `SLOTS` of each parameter, as they are stored.
        reordered: For each of these, the parameter whose axes are stored in another order than
            those of `spec`; None where there is nothing to reorder.
    """

    spec: NetworkSpec
    names: tuple[str, ...]
    numbers: array[int]
    fans: array[float]
    sizes: array[int]
    tensors: list[Expected]
    reordered: list[str | None]

    def held(
        self, params: Params, grads: Params, slots: Mapping[str, Mapping[str, Tensor]]
    ) -> list[Tensor]:
        """Value, gradient and `SLOTS` of each parameter, in the order of `tensors`."""
        return [
            tensor
            for name in self.names
            for tensor in (params[name], grads[name], *[slots[name][slot] for slot in SLOTS])
        ]

    def lay(self, index: int, tensor: Tensor) -> Tensor:
        """The tensor of this index in `tensors` as native code has it: itself, or a dense copy."""
        name = self.reordered[index]
        return dense(tensor if name is None else self.spec.view(name, tensor))

    def put_back(self, index: int, tensor: Tensor) -> Tensor:
        """The inverse."""
        name = self.reordered[index]
        return tensor if name is None else self.spec.unview(name, tensor)


@lru_cache(maxsize=64)
def layout_of(spec: NetworkSpec, direction: Spectral) -> Layout:
    """The layout of a network, whose steps point in a direction."""
    roles, numbers, fans = roles_of(spec), array("q"), array("f")
    spec = roles.spec
    matrices = direction.matrices(spec)
    for p in roles.parameters:
        shape = spec.shapes[p.name]
        is_turned = _is_turned(spec, p)
        rows, columns, taps = _matrix(roles, p, shape)
        rows, columns = (columns, rows) if is_turned else (rows, columns)
        source = -1 if p.source is None else p.source
        outputs, inputs, of_taps = _blocks(p, matrices.get(p.name))
        blocks = (inputs, outputs, of_taps) if is_turned else (outputs, inputs, of_taps)
        numbers.extend((rows, columns, taps, p.out, source, is_turned, *blocks))
        numbers.extend((_bands(direction, matrices.get(p.name)), p.taps > 0))
        shares = direction.log_shares(spec, [p.name], "cpu")
        fans.extend((*log_fans(spec, p.name), *default_sizes(spec, [p.name], matrices), *shares))
    names = tuple(p.name for p in roles.parameters)
    tensors = [one for name in names for one in _tensors(name, spec.stored[name])]
    orders = [
        p.name if p.name in spec.orders and not _is_turned(spec, p) else None
        for p in roles.parameters
    ]
    reordered = [
        order for name in orders for order in (*[name] * 5, *[None] * len(constants.SCALARS))
    ]
    return Layout(spec, names, numbers, fans, array("q", roles.sizes), tensors, reordered)


def _is_turned(spec: NetworkSpec, p: ParameterAxes) -> bool:
    """Whether a matrix is stored with its inputs first, and read like that."""
    stored, shape, order = spec.stored[p.name], spec.shapes[p.name], spec.orders.get(p.name)
    return p.source is not None and order == (1, 0) and stored == shape[::-1]


def _matrix(roles: Roles, p: ParameterAxes, shape: Shape) -> tuple[int, int, int]:
    """Rows, columns and taps of a parameter; a vector is a row."""
    populations = (p.out,) if p.source is None else (p.out, p.source)
    neurons = shape[: len(populations)]
    assert neurons == tuple(roles.sizes[population] for population in populations)
    rows, columns = (1, *neurons) if p.source is None else neurons
    return rows, columns, prod(shape[len(shape) - p.taps :])


def _blocks(p: ParameterAxes, matrices: Matrices | None) -> tuple[int, int, int]:
    """Into how many blocks outputs, inputs and taps are cut; zeros where there are no matrices."""
    if matrices is None:
        return 0, 0, 0
    splits = (*matrices.splits[:1], *((1,) if p.source is None else ()), *matrices.splits[1:])
    return splits[0], splits[1], prod(splits[2:])


def _bands(direction: Spectral, matrices: Matrices | None) -> int:
    """Into how many bands each matrix is dealt."""
    return 0 if matrices is None else direction.num_bands(matrices.rows, matrices.columns, "cpu")


def _tensors(name: str, shape: Shape) -> list[Expected]:
    momenta = (len(constants.DECAYS), *shape)
    slots = zip(SLOTS, (momenta, shape, shape, *[()] * len(constants.SCALARS)), strict=True)
    return [
        Expected(f"parameter {name!r}", shape, is_written=True),
        Expected(f"the gradient of {name!r}", shape),
        *(Expected(f"slot {k!r} of parameter {name!r}", s, is_written=True) for k, s in slots),
    ]
