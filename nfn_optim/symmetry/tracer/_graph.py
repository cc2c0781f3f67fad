"""Forward code as a graph: torch.fx, with submodules that it cannot follow left whole."""

from __future__ import annotations

import copy
import dis
import inspect
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from types import FrameType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import rnn

from ._branches import Branches
from ._modules import find_rule, reason_without_rule
from ._twin import Twins, Unwritten, random_numbers_kept


_WHOLE = (rnn.pack_padded_sequence, rnn.pad_packed_sequence)  # functions that are not followed
_FURTHER_INPUTS = ("decoder_input_ids",)  # where all arguments have defaults, as in transformers
_FACTORIES = ("empty", "ones", "rand", "randn", "zeros")


_EXPRESSIONS = (getattr, "size", *(f for f in vars(operator).values() if callable(f)))


_COMPARISONS = {
    f: f for f in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
}


_SPREADS = ("LIST_EXTEND", "CALL_FUNCTION_EX")


class StandIn(fx.Proxy):
    """A tensor in the graph: of the type and on the device of the module's parameters."""

    tracer: GraphTracer

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
        if inst.opname in _SPREADS and _is_shape(self.node):
            return iter([self])
        return self.tracer.iter(self)

class _Attribute(StandIn, fx.proxy.Attribute):
    """A stand-in for an attribute of a tensor, or for one of its methods."""

def _instruction(frame: FrameType | None) -> dis.Instruction:
    """What the code that called a function is at."""
    assert frame is not None
    assert frame.f_back is not None
    code, at = frame.f_back.f_code, frame.f_back.f_lasti
    return next(inst for inst in dis.get_instructions(code) if inst.offset >= at)


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

    def __init__(self, like: Tensor | None) -> None:
        super().__init__(autowrap_functions=_WHOLE)
        self._autowrap_search.append(rnn)  # also where code calls them by their module
        self.like = like
        self.branches = Branches()
        self.opaque: dict[str, str] = {}
        self.unpacked: dict[fx.Node, int] = {}

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Stands in for what forward must be given; for its first argument where all have defaults.

        Arguments with defaults keep them, as in a call with the others only.
        """
        given = list(inspect.signature(self.root.forward).parameters.values())
        needed = [p for p in given if not _has_default(p)]
        needed = needed or [p for i, p in enumerate(given) if i == 0 or p.name in _FURTHER_INPUTS]
        in_order = [p for p, q in zip(needed, given, strict=False) if p is q]
        by_place = [p for p in in_order if p.kind is not p.KEYWORD_ONLY]
        args = [self.create_proxy("placeholder", p.name, (), {}) for p in needed]

        def called(*args: Any) -> Any:
            count = len(by_place)
            named = {p.name: arg for p, arg in zip(needed[count:], args[count:], strict=True)}
            call = partial(root_fn, self.root, *args[:count], **named)
            return _without_objects(self._every_way(call))

        return called, args

    def proxy(self, node: fx.Node) -> StandIn:
        """What forward code gets for a node."""
        return StandIn(node, self)

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
        try:
            path = self.path_of_module(m)
        except NameError:  # a layer that forward makes
            return m.forward(*args, **kwargs)
        undo, inline = self._mark(), super().call_module
        try:
            return self._every_way(lambda: inline(m, m.forward, args, kwargs))
        except Exception as error:  # whatever user code does when it meets a stand-in
            undo()
            self.opaque[path] = _first_line(error)
            return self.create_proxy("call_module", path, *_without_objects((args, kwargs)))

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The way that code goes where it asks for a number."""
        certain = _compares_with_one(obj.node)
        return self.branches.choose(_expression(obj.node)) if certain is None else certain

    def _every_way(self, call: Callable[[], Any]) -> Any:
        """What the code returns, brought together where it branches."""
        return self._either(self.branches.follow(call, self._mark))

    def _either(self, ways: Sequence[Any]) -> Any:
        """One result of several: stand-ins that differ become one, inside of containers too."""
        first = ways[0]
        if all(way is first for way in ways):
            return first
        if all(isinstance(way, (list, tuple)) and len(way) == len(first) for way in ways):
            items = [self._either(parts) for parts in zip(*ways, strict=True)]
            return getattr(first, "_make", type(first))(items)
        if all(isinstance(way, dict) and way.keys() == first.keys() for way in ways):
            result = copy.copy(first)
            for key in first:
                result[key] = self._either([way[key] for way in ways])
            return result
        if any(isinstance(way, fx.Proxy) for way in ways):
            return self.create_proxy("call_function", either, _without_objects(ways), {})
        return first

    def _mark(self) -> Callable[[], None]:
        """What takes the graph back to where it is now; parameters in it stay."""
        before, stack = len(self.graph.nodes), self.module_stack.copy()

        def undo() -> None:
            for node in list(self.graph.nodes)[: before - 1 : -1]:
                if node.op != "get_attr":
                    self.graph.erase_node(node)
            self.module_stack = stack.copy()

        return undo


def either(*ways: Any) -> Any:
    """Stands in the graph for what code returns that goes one of several ways."""
    raise NotImplementedError


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

    Raises:
        Exception: Whatever tracing raises, where the module's own forward cannot be followed.
    """
    twins = Twins()
    module = twins.of(module)
    floats = (p for p in module.parameters() if p.is_floating_point())
    tracer = GraphTracer(next(floats, None))
    with Unwritten(twins.tensors), random_numbers_kept(), _sizes_in_a_row():
        graph = tracer.trace(module)
    return Graph(graph, module, tracer.opaque, tracer.ranks())


def _is_size(item: Any) -> bool:
    """Whether this is `x.shape[dim]` or `x.size(dim)`."""
    if not isinstance(item, fx.Node):
        return False
    if item.target == "size":
        return len(item.args) > 1
    of = item.args[0] if item.target is operator.getitem else None
    shape = isinstance(of, fx.Node) and of.target is getattr and of.args[1] == "shape"
    return shape or (isinstance(of, fx.Node) and of.target == "size" and len(of.args) == 1)


def _compares_with_one(node: fx.Node) -> bool | None:
    """The answer of a comparison of a size with zero or one: sizes are taken to be larger."""
    if node.target not in _COMPARISONS or not _is_size(node.args[0]):
        return None
    number = node.args[1]
    return _COMPARISONS[node.target](2, number) if isinstance(number, int) and number < 2 else None


def _expression(item: Any) -> str:
    """What a number is computed from, as text: the same where code computes it twice."""
    if isinstance(item, (list, tuple)):
        return ",".join(map(_expression, item))
    if not isinstance(item, fx.Node) or item.target not in _EXPRESSIONS:
        return str(item)
    return f"{item.target}({_expression(item.args)})"


def _without_objects(tree: Any) -> Any:
    """Arguments of a module that is left whole: what a graph cannot hold (a cache) is None."""
    if isinstance(tree, (list, tuple)):
        return tuple(map(_without_objects, tree))
    if isinstance(tree, dict):
        return {key: _without_objects(item) for key, item in tree.items()}
    return tree if isinstance(tree, (fx.Proxy, bool, int, float, str, Tensor)) else None


def _has_default(parameter: inspect.Parameter) -> bool:
    default = parameter.default
    simple = default is None or isinstance(default, (bool, int, float, str))
    return simple or parameter.kind is parameter.VAR_KEYWORD


@contextmanager
def _sizes_in_a_row() -> Iterator[None]:
    """Lets `torch.zeros(x.size(0), 4)` take stand-ins, which torch takes in a tuple only."""
    originals = {name: getattr(torch, name) for name in _FACTORIES}
    for name, original in originals.items():
        setattr(torch, name, _with_sizes_in_a_tuple(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(torch, name, original)


def _with_sizes_in_a_tuple(factory: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(factory)
    def called(*sizes: Any, **options: Any) -> Any:
        in_a_row = len(sizes) > 1 and any(isinstance(size, fx.Proxy) for size in sizes)
        return factory(sizes, **options) if in_a_row else factory(*sizes, **options)

    return called


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
