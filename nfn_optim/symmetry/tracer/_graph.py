"""Forward code as a graph: torch.fx, with submodules that it cannot follow left whole."""

from __future__ import annotations

import dis
import inspect
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ._modules import find_rule, reason_without_rule
from ._twin import Twins, Unwritten, random_numbers_kept


class _Unpacked(fx.Proxy):
    """A stand-in for a tensor that remembers into how many names its shape is unpacked."""

    tracer: GraphTracer

    @property
    def dtype(self) -> Any:
        """The type of the module's numbers, which code that casts asks for; inputs may have others.

        An item of the graph where that is not known.
        """
        known = None if self.node.op == "placeholder" else self.tracer.dtype
        return _Attribute(self, "dtype") if known is None else known

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
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        code, at = frame.f_back.f_code, frame.f_back.f_lasti
        inst = next(inst for inst in dis.get_instructions(code) if inst.offset >= at)
        if inst.opname == "UNPACK_SEQUENCE":
            assert inst.argval is not None
            self.tracer.unpacked[self.node] = inst.argval
            return iter([operator.getitem(self, i) for i in range(inst.argval)])
        if inst.opname in _SPREADS and _is_shape(self.node):
            return iter([self])
        return self.tracer.iter(self)


class _Attribute(_Unpacked, fx.proxy.Attribute):
    """A stand-in for an attribute of a tensor, or for one of its methods."""


_SPREADS = ("LIST_EXTEND", "CALL_FUNCTION_EX")


def _is_shape(node: fx.Node) -> bool:
    """Whether a node is the shape of a tensor, or a part of one."""
    if node.target is operator.getitem and isinstance(node.args[1], slice):
        return isinstance(node.args[0], fx.Node) and _is_shape(node.args[0])
    is_size = node.op == "call_method" and node.target == "size" and len(node.args) == 1
    return is_size or (node.target is getattr and node.args[1] == "shape")


class GraphTracer(fx.Tracer):
    """Follows forward code down to the layers that have rules.

    A submodule whose forward depends on data cannot be followed. It becomes one node of the graph,
    and is listed in `opaque` with the error.
    """

    trace_asserts = True
    proxy_buffer_attributes = True

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.dtype = dtype
        self.opaque: dict[str, str] = {}
        self.unpacked: dict[fx.Node, int] = {}

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A stand-in for what a node returns."""
        return _Unpacked(node, self)

    def ranks(self) -> dict[fx.Node, int]:
        """How many axes tensors have whose shapes are unpacked."""
        return {
            node.args[0]: count
            for node, count in self.unpacked.items()
            if _is_shape(node) and node.target is not operator.getitem
            if isinstance(node.args[0], fx.Node)
        }

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers with a rule, and those of torch.nn that are known to have none."""
        return find_rule(m) is not None or reason_without_rule(m) is not None

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Inlines a submodule's forward without hooks, or leaves it whole where that fails."""
        before = len(self.graph.nodes)
        try:
            return super().call_module(m, m.forward, args, kwargs)
        except Exception as error:  # whatever user code does when it meets a proxy
            for node in list(self.graph.nodes)[: before - 1 : -1]:
                self.graph.erase_node(node)
            path = self.path_of_module(m)
            self.opaque[path] = _first_line(error)
            return self.create_proxy("call_module", path, args, kwargs)


@dataclass(frozen=True)
class Graph:
    """Forward code.

    Attributes:
        nodes: What it does, in order.
        owner: The module that paths refer to.
        opaque: Submodules that are left whole, and why.
        ranks: How many axes tensors have, where code says so.
    """

    nodes: fx.Graph
    owner: nn.Module
    opaque: dict[str, str]
    ranks: dict[fx.Node, int]


def trace_graph(module: nn.Module) -> Graph:
    """The graph of a module's forward.

    Arguments with defaults keep them, as in a call with the others only.

    Raises:
        Exception: Whatever tracing raises, where the module's own forward cannot be followed.
    """
    twins = Twins()
    module = twins.of(module)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is None or isinstance(parameter.default, (bool, int, float, str))
    }
    dtypes = (p.dtype for p in module.parameters() if p.is_floating_point())
    tracer = GraphTracer(next(dtypes, None))
    with Unwritten(twins.tensors), random_numbers_kept():
        graph = tracer.trace(module, concrete_args=defaults or None)
    return Graph(graph, module, tracer.opaque, tracer.ranks())


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
