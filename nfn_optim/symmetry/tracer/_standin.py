"""Stand-ins for tensors that forward code is run with, and what code may ask them."""

from __future__ import annotations

import dis
import inspect
import operator
from collections.abc import Iterator
from types import FrameType
from typing import Any

import torch
from torch import fx

_EXPRESSIONS = (getattr, "size", *(f for f in vars(operator).values() if callable(f)))
_COMPARISONS = {
    f: f for f in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
}
_SPREADS = ("LIST_EXTEND", "CALL_FUNCTION_EX")
_CHUNKS = ("chunk", torch.chunk)


class StandIn(fx.Proxy):
    """A tensor in the graph: of the type and on the device of the module's parameters."""

    tracer: Any

    @property
    def dtype(self) -> Any:
        """The type of the module's numbers, which code that casts asks for; inputs may have others.

        An item of the graph where that is not known.
        """
        known = None if self.node.op == "placeholder" else self.tracer.like
        return _Attribute(self, "dtype") if known is None else known.dtype

    @property
    def device(self) -> Any:
        """The device of the module's numbers; an item of the graph where that is not known."""
        known = self.tracer.like
        return _Attribute(self, "device") if known is None else known.device

    def __len__(self) -> int:
        """Raises the error that lists take for an unknown length."""
        raise TypeError("'len' of a tensor is not known in symbolic tracing")

    def __getattr__(self, k: str) -> _Attribute:
        """An attribute: an item of the graph once it is used as one."""
        return _Attribute(self, k)

    def __iter__(self) -> Iterator[fx.Proxy]:
        """The items, where the statement at hand says how many there are.

        A shape that is put into a list of sizes (`*x.shape[:-1]`) stands there as it is.
        """
        inst = _instruction(inspect.currentframe())
        if inst.opname == "UNPACK_SEQUENCE":
            assert inst.argval is not None
            self.tracer.unpacked[self.node] = inst.argval
            return iter([operator.getitem(self, i) for i in range(inst.argval)])
        if inst.opname in _SPREADS and is_shape(self.node):
            return iter([self])
        chunks = self.node.args[1:2] if self.node.target in _CHUNKS else ()
        if chunks and isinstance(chunks[0], int):
            return iter([operator.getitem(self, i) for i in range(chunks[0])])
        return self.tracer.iter(self)


class _Attribute(StandIn, fx.proxy.Attribute):
    """A stand-in for an attribute of a tensor, or for one of its methods."""


def _instruction(frame: FrameType | None) -> dis.Instruction:
    """What the code that called a function is at."""
    assert frame is not None
    assert frame.f_back is not None
    code, at = frame.f_back.f_code, frame.f_back.f_lasti
    return next(inst for inst in dis.get_instructions(code) if inst.offset >= at)


def is_shape(node: fx.Node) -> bool:
    """Whether a node is the shape of a tensor, or a part of one."""
    if node.target is operator.getitem and isinstance(node.args[1], slice):
        return isinstance(node.args[0], fx.Node) and is_shape(node.args[0])
    return _is_whole_shape(node)


def _is_whole_shape(item: Any) -> bool:
    """Whether this is `x.shape` or `x.size()`."""
    if not isinstance(item, fx.Node):
        return False
    is_size = item.op == "call_method" and item.target == "size" and len(item.args) == 1
    return is_size or (item.target is getattr and item.args[1] == "shape")


def _is_size(item: Any) -> bool:
    """Whether this is `x.shape[dim]` or `x.size(dim)`."""
    if not isinstance(item, fx.Node):
        return False
    if item.target == "size":
        return len(item.args) > 1
    return item.target is operator.getitem and _is_whole_shape(item.args[0])


def compares_with_one(node: fx.Node) -> bool | None:
    """The answer of a comparison of a size with zero or one: sizes are taken to be larger."""
    if node.target not in _COMPARISONS or not _is_size(node.args[0]):
        return None
    number = node.args[1]
    return _COMPARISONS[node.target](2, number) if isinstance(number, int) and number < 2 else None


def expression(item: Any) -> str:
    """What a number is computed from, as text: the same where code computes it twice."""
    if isinstance(item, (list, tuple)):
        return ",".join(map(expression, item))
    if not isinstance(item, fx.Node) or item.target not in _EXPRESSIONS:
        return str(item)
    return f"{item.target}({expression(item.args)})"
