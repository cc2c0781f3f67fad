"""What the native step is told of a network: numbers, and shapes of tensors."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from ...layers.relational import ParameterAxes, Roles, roles_of
from ...rules import Params, Reads, Spectral, constants, default_sizes, log_fans
from ...symmetry import Matrices, NetworkSpec, Shape
from .. import Expected, are_dense, dense, is_copy

T = TypeVar("T")
SLOTS = ("momenta", "square", "lead", *constants.UNCUT)
_TENSORS, _NUMBERS, _FANS = 2 + len(SLOTS), 13, 5  # of a parameter
_OF_ENTRIES = _TENSORS - len(constants.UNCUT)  # of these, such as have its axes
_NONE = torch.empty(0, dtype=torch.float32, device="cpu")  # in place of a slot that is not kept
NONE = tuple(_NONE.shape)


@dataclass(frozen=True)
class Layout:
    """A network as numbers, and what its tensors are.

    Attributes:
        spec: The network, with every parameter's axes in the order of the native step.
        names: Parameters in the order of the native step.
        numbers: Thirteen of each parameter.
        fans: Five of each parameter: `log_fans`, its weights' size by default, and its log share.
        sizes: Neurons of each population.
        tensors: Value, gradient and `SLOTS` of each parameter, as they are stored.
        reordered: For each of these, the parameter whose axes are stored in another order than
            those of `spec`; None where there is nothing to reorder.
        loose: Whether entries of a row of each parameter may lie in any order.
    """

    spec: NetworkSpec
    names: tuple[str, ...]
    numbers: array[int]
    fans: array[float]
    sizes: array[int]
    tensors: list[Expected]
    reordered: list[str | None]
    loose: list[bool]

    def held(
        self, params: Params, grads: Params, slots: Mapping[str, Mapping[str, Tensor]]
    ) -> list[Tensor]:
        """Value, gradient and `SLOTS` of each parameter, in the order of `tensors`."""
        return [
            tensor
            for name in self.names
            for tensor in (
                params[name],
                grads[name],
                *[slots[name].get(slot, _NONE) for slot in SLOTS],
            )
        ]

    def part(self, names: Collection[str]) -> Layout:
        """That of some of the parameters, where each is read alone."""
        if len(names) == len(self.names):
            return self
        chosen = [i for i, name in enumerate(self.names) if name in names]
        return replace(
            self,
            names=tuple(self.names[i] for i in chosen),
            numbers=array("q", _parts(self.numbers, chosen, _NUMBERS)),
            fans=array("f", _parts(self.fans, chosen, _FANS)),
            tensors=list(_parts(self.tensors, chosen, _TENSORS)),
            reordered=list(_parts(self.reordered, chosen, _TENSORS)),
            loose=[self.loose[i] for i in chosen],
        )

    def laid(self, held: list[Tensor]) -> list[Tensor]:
        """All tensors as native code has them, see `lay`."""
        if not self._is_reordered and are_dense(held):
            return held
        orders = self._orders(held)
        return [
            self.lay(i, t, order) for i, (t, order) in enumerate(zip(held, orders, strict=True))
        ]

    def write_back(self, laid: list[Tensor], held: list[Tensor]) -> None:
        """Copies that were written to go back, to tensors that may be of inference mode."""
        if laid is held:
            return
        with torch.inference_mode():
            for i, order in enumerate(self._orders(held)):
                if self.tensors[i].is_written and is_copy(laid[i], held[i]):
                    held[i].copy_(self.put_back(i, laid[i], order))

    @cached_property
    def _is_reordered(self) -> bool:
        return any(self.reordered)

    def _orders(self, held: list[Tensor]) -> list[Shape | None]:
        """For each tensor the order in which the parameter's axes lie, where it can be taken so.

        It is for convolutions in `torch.channels_last`; None: as they are stored.
        """
        values = zip(held[::_TENSORS], self.loose, strict=True)
        orders = [_order(value) if is_loose else None for value, is_loose in values]
        return [order for order in orders for _ in range(_TENSORS)]

    def lay(self, index: int, tensor: Tensor, order: Shape | None = None) -> Tensor:
        """The tensor of this index in `tensors` as native code has it: dense, copied if need be."""
        name = self.reordered[index]
        if name is not None:
            tensor = self.spec.view(name, tensor)
        elif order is not None and _is_memory(index):
            tensor = _inputs_permuted(tensor, self._shape(index), order)
        elif order is not None and tensor.dim() >= len(order):
            tensor = _permuted(tensor, order)
        return dense(tensor)

    def put_back(self, index: int, tensor: Tensor, order: Shape | None = None) -> Tensor:
        """The inverse."""
        name = self.reordered[index]
        if name is not None:
            return self.spec.unview(name, tensor)
        if order is None:
            return tensor
        inverse = tuple(order.index(axis) for axis in range(len(order)))
        if _is_memory(index):
            shape = self._shape(index)
            return _inputs_permuted(tensor, tuple(shape[axis] for axis in order), inverse)
        return _permuted(tensor, inverse) if tensor.dim() >= len(order) else tensor

    def _shape(self, index: int) -> Shape:
        """Of the parameter whose tensor it is."""
        return self.tensors[index // _TENSORS * _TENSORS].shape


@lru_cache(maxsize=64)
def layout_of(spec: NetworkSpec, direction: Spectral, reads_all: bool = True) -> Layout:
    """The layout of a network.

    Args:
        spec: The network.
        direction: Where its steps point.
        reads_all: As for the rule.
    """
    roles, numbers, fans = roles_of(spec), array("q"), array("f")
    spec = roles.spec
    matrices = direction.matrices(spec)
    names = tuple(p.name for p in roles.parameters)
    reads = {name: direction.reads(spec, name, reads_all) for name in names}
    for p in roles.parameters:
        shape = spec.shapes[p.name]
        is_turned = _is_turned(spec, p)
        rows, columns, taps = _matrix(roles, p, shape)
        rows, columns = (columns, rows) if is_turned else (rows, columns)
        source = -1 if p.source is None else p.source
        outputs, inputs, of_taps = _blocks(p, matrices.get(p.name))
        blocks = (inputs, outputs, of_taps) if is_turned else (outputs, inputs, of_taps)
        numbers.extend((rows, columns, taps, p.out, source, is_turned, *blocks))
        read = reads[p.name]
        numbers.extend((_bands(direction, matrices.get(p.name)), p.taps > 0, read.momenta))
        numbers.append(read.steep[-1] if read.steep else 0)
        shares = direction.log_shares(spec, [p.name], "cpu")
        fans.extend((*log_fans(spec, p.name), *default_sizes(spec, [p.name], matrices), *shares))
    tensors = [one for name in names for one in _tensors(name, spec.stored[name], reads[name])]
    orders = [
        p.name if p.name in spec.orders and not _is_turned(spec, p) else None
        for p in roles.parameters
    ]
    of_tensors = [order for order in orders for _ in range(_TENSORS)]
    reordered = [
        order if i % _TENSORS < _OF_ENTRIES and one.shape != NONE else None
        for i, (order, one) in enumerate(zip(of_tensors, tensors, strict=True))
    ]
    loose = [not reads_all and _is_loose(spec, name, matrices.get(name)) for name in names]
    return Layout(spec, names, numbers, fans, array("q", roles.sizes), tensors, reordered, loose)


def _is_loose(spec: NetworkSpec, name: str, matrices: Matrices | None) -> bool:
    """Whether a polar factor, if any, takes the entries of a row in any order.

    Layers would have to tell them apart.
    """
    is_plain = name not in spec.orders and spec.stored[name] == spec.shapes[name]
    return is_plain and (matrices is None or set(matrices.splits[1:]) <= {1})


def _order(values: Tensor) -> Shape | None:
    """The order of a tensor's axes in memory, where it is another one and its rows lie apart."""
    if values.is_contiguous():
        return None
    strides = values.stride()
    order = tuple(sorted(range(values.dim()), key=lambda axis: -strides[axis]))
    return order if order[0] == 0 else None


def _permuted(tensor: Tensor, order: Shape) -> Tensor:
    """The last axes in another order."""
    lead = tensor.dim() - len(order)
    return tensor.permute(*range(lead), *(lead + axis for axis in order))


def _is_memory(index: int) -> bool:
    """Whether the tensor of this index in `tensors` is what directions remember."""
    return index % _TENSORS == 2 + SLOTS.index("steep")


def _inputs_permuted(memory: Tensor, shape: Shape, order: Shape) -> Tensor:
    """What is remembered `(blocks, rows + columns, k)` where the parameter's axes get an order.

    The first axis, of outputs, stays where it is.
    """
    if not memory.numel():
        return memory
    count = prod(shape[1:])
    outputs, inputs = memory.split([memory.shape[1] - count, count], 1)
    moved = inputs.unflatten(1, shape[1:]).permute(0, *order[1:], len(shape))
    return torch.cat([outputs, moved.flatten(1, -2)], 1)


def _parts(items: Sequence[T], chosen: Sequence[int], each: int) -> Iterator[T]:
    """Those of the chosen parameters, which have so many each."""
    return chain.from_iterable(items[each * i : each * (i + 1)] for i in chosen)


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


def _tensors(name: str, shape: Shape, reads: Reads) -> list[Expected]:
    square = shape if reads.square else NONE
    entries = ((reads.momenta, *shape), square, shape)
    steep = reads.steep or NONE
    slots = zip(SLOTS, (*entries, *[()] * len(constants.SCALARS), steep), strict=True)
    return [
        Expected(f"parameter {name!r}", shape, is_written=True),
        Expected(f"the gradient of {name!r}", shape),
        *(Expected(f"slot {k!r} of parameter {name!r}", s, is_written=True) for k, s in slots),
    ]
