"""Forward code as a graph: torch.fx, with submodules that it cannot follow left whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from ._modules import find_rule, reason_without_rule
from ._twin import Twins, Unwritten, random_numbers_kept


class GraphTracer(fx.Tracer):
    """Follows forward code down to the layers that have rules.

    A submodule whose forward depends on data cannot be followed. It becomes one node of the graph,
    and is listed in `opaque` with the error.
    """

    trace_asserts = True
    proxy_buffer_attributes = True

    def __init__(self) -> None:
        super().__init__()
        self.opaque: dict[str, str] = {}

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


def trace_graph(module: nn.Module) -> tuple[fx.Graph, nn.Module, dict[str, str]]:
    """The graph of a module's forward, the module its paths refer to, and submodules left whole.

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
    tracer = GraphTracer()
    with Unwritten(twins.tensors), random_numbers_kept():
        graph = tracer.trace(module, concrete_args=defaults or None)
    return graph, module, tracer.opaque


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
