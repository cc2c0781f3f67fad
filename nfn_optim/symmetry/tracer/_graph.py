"""Forward code as a graph: torch.fx, with submodules that it cannot follow left whole."""

from __future__ import annotations

import copy
import inspect
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.utils import rnn

from ._branches import Branches
from ._factories import sizes_in_a_row
from ._modules import find_rule, reason_without_rule
from ._standin import StandIn, compares_with_one, expression, is_shape
from ._twin import Twins, Unwritten, attributes_kept, random_numbers_kept, settings_kept
from ._writes import written

_WHOLE = (rnn.pack_padded_sequence, rnn.pad_packed_sequence)  # functions that are not followed
_TRUSTED = ("torch", "_operator", "operator", "builtins", "math")
_FURTHER_INPUTS = ("decoder_input_ids",)  # where all arguments have defaults, as in transformers


def _of_einops() -> tuple[Callable[..., Any], ...]:
    """Functions that do not take stand-ins, so that they are items of the graph."""
    einops = sys.modules.get("einops")
    return () if einops is None else (einops.rearrange, einops.repeat)


class GraphTracer(fx.Tracer):
    """Follows forward code down to the layers that have rules.

    A submodule whose forward depends on data cannot be followed. It becomes one node of the graph,
    and is listed in `opaque` with the error.
    """

    trace_asserts = True
    proxy_buffer_attributes = True

    def __init__(self, like: Tensor | None) -> None:
        super().__init__(autowrap_functions=(*_WHOLE, *_of_einops()))
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
            if is_shape(node) and node.target is not operator.getitem
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
        certain = compares_with_one(obj.node)
        return self.branches.choose(expression(obj.node)) if certain is None else certain

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
        written: Tensors that code writes to and uses again, and what they are views of.
    """

    nodes: fx.Graph
    owner: nn.Module
    opaque: dict[str, str]
    ranks: dict[fx.Node, int]
    written: frozenset[fx.Node]


def trace_graph(module: nn.Module) -> Graph:
    """The graph of a module's forward.

    Raises:
        Exception: Whatever tracing raises, where the module's own forward cannot be followed.
    """
    twins = Twins()
    module = twins.of(module)
    floats = (p for p in module.parameters() if p.is_floating_point())
    tracer = GraphTracer(next(floats, None))
    with attributes_kept(twins.tensors), settings_kept(), random_numbers_kept():
        with Unwritten(twins.tensors), sizes_in_a_row():
            graph = tracer.trace(module)
    return Graph(graph, module, tracer.opaque, tracer.ranks(), written(graph))


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


def resolve(tree: Any, results: dict[fx.Node, Any]) -> Any:
    """Arguments of a node, with results for the nodes in them."""
    if isinstance(tree, fx.Node):
        return results[tree]
    if isinstance(tree, slice):
        return slice(*(resolve(part, results) for part in (tree.start, tree.stop, tree.step)))
    if isinstance(tree, (list, tuple)):
        return tuple(resolve(item, results) for item in tree)
    if isinstance(tree, dict):
        return {key: resolve(item, results) for key, item in tree.items()}
    return tree


def name_of(target: Any) -> str:
    """A function's or method's name; functions of other packages get one that has no rule."""
    if isinstance(target, str):
        return target
    package = (getattr(target, "__module__", None) or "torch").split(".")[0]
    name = str(getattr(target, "__name__", target))
    return name if package in _TRUSTED else f"{package}.{name}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
