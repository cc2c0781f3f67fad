"""Walks through a module's graph with the rules, and through the parts that have no graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from inspect import Parameter, signature
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from . import _functions
from ._context import Context
from ._functions import fits
from ._graph import Graph, name_of, resolve, trace_graph
from ._modules import find_rule, reason_without_rule
from ._parameters import Parameters
from ._parametrized import computed, hooked
from ._populations import Populations
from ._value import NUMBER, ParameterRef, Several, Value, parameters_in, values_in

# Arguments that are named as in transformers, where they have so many axes.
_RANKS = {"input_ids": 2, "decoder_input_ids": 2, "input_features": 3, "pixel_values": 4}


class Walk:
    """One pass over a module; fills `parameters`."""

    def __init__(self, module: nn.Module) -> None:
        named = dict(module.named_parameters())
        self.populations = Populations()
        shapes = {name: tuple(p.shape) if is_ready(p) else () for name, p in named.items()}
        self.parameters = Parameters(self.populations, shapes)
        for name, parameter in named.items():
            if not is_ready(parameter):
                self.parameters.drop(name, "it has no shape yet; run the model once before")
        self.named = named  # a tensor's id is its own as long as the tensor lives
        self.names = {id(parameter): name for name, parameter in named.items()}
        self.ctx = Context(self.populations, self.parameters)
        self.failures: dict[str, str] = {}

    def whole(self, module: nn.Module) -> None:
        """Reads the network: its arguments are inputs, what it returns are outputs."""
        prefix, module = self._unwrap("", module)
        result = self._apply(prefix, module, None)
        for value in values_in(result):
            self.populations.mark_output(value.nodes | value.lost)
        self.ctx.hold_guesses()
        self._unreached(prefix, module)

    def alone(self, path: str, module: nn.Module) -> None:
        """Reads a part whose surroundings are not understood: what goes in and out is pinned."""
        if not any(True for _ in module.parameters()):
            return
        if type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
            self._children(path, module)
        else:
            self.ctx.pin(self._apply(path, module, Value()))

    def _apply(self, path: str, module: nn.Module, x: Value | None) -> Any:
        """What a module returns, given `x` for each argument or (None) the network's inputs."""
        if find_rule(module) is not None or reason_without_rule(module) is not None:
            needed = [p for p in signature(module.forward).parameters.values() if _is_needed(p)]
            given = [self._input(i) if x is None else x for i in range(max(1, len(needed)))]
            return self._layer(path, module, tuple(given), {})
        try:
            graph = trace_graph(module)
        except Exception as error:  # whatever forward code does when it meets a proxy
            return self._opaque(path, module, str(error).strip().split("\n")[0], ())
        self.failures.update({_join(path, inner): why for inner, why in graph.opaque.items()})
        return self._run(path, graph, x)

    def _run(self, path: str, graph: Graph, x: Value | None) -> Any:
        owner, opaque = graph.owner, graph.opaque
        results: dict[fx.Node, Any] = {}
        for node in graph.nodes.nodes:
            args, kwargs = (resolve(a, results) for a in (node.args, node.kwargs))
            if node.op == "placeholder":
                rank = _RANKS.get(str(node.target))
                results[node] = self._input(len(results), rank) if x is None else x
            elif node.op == "get_attr":
                results[node] = self._attribute(owner, node.target)
            elif node.op == "call_module":
                child, inner = owner.get_submodule(node.target), _join(path, node.target)
                if node.target in opaque:
                    results[node] = self._opaque(inner, child, opaque[node.target], (args, kwargs))
                else:
                    results[node] = self._layer(inner, child, args, kwargs)
            elif node.op == "output":
                return args[0]
            else:
                self.ctx.layer = _join(
                    path, node.name
                )  # for what a function makes: a concatenation
                results[node] = _functions.call(self.ctx, name_of(node.target), args, kwargs)
            results[node] = _with_rank(results[node], graph.ranks.get(node))
            if node in graph.written and isinstance(results[node], Value):
                results[node] = replace(results[node], shape=None)  # its entries differ later
        return None

    def _input(self, position: int, rank: int | None = None) -> Value:
        name = "in" if not position else f"in:{position + 1}"
        return Value(rank=rank, source=self.populations.new(name, 0, is_input=True))

    def _attribute(self, owner: nn.Module, target: str) -> Any:
        tensor: Any = getattr(owner, target, None)  # a tensor's own name may have dots
        if tensor is None:
            tensor = attrgetter(target)(owner)
        return self._of_tensor(tensor) if isinstance(tensor, Tensor) else NUMBER

    def _of_tensor(self, tensor: Tensor) -> ParameterRef | Value:
        """A parameter of the module, or else a tensor that forward code may have put in place."""
        if id(tensor) in self.names:
            return ParameterRef(self.names[id(tensor)])
        return Value(rank=tensor.dim(), shape=tuple(tensor.shape))

    def _layer(
        self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A layer of torch.nn: by its rule, or its parameters left out with a reason."""
        rule = find_rule(module)
        self.ctx.layer = path
        args, kwargs = (self.ctx.settled(x, decide=True) for x in _given(args, kwargs))
        ready = all(is_ready(p) for p in module.parameters())
        own = partial(self._parameter, path, module)
        if rule is None or not ready or not fits(rule, (None, module, own, *args), kwargs):
            why = (
                reason_without_rule(module)
                or f"{type(module).__name__} is called in an unusual way"
            )
            for name in self._own_names(module, recurse=True):
                self.parameters.drop(name, why)
            result = self.ctx.unknown(type(module).__name__, args, kwargs)
            if isinstance(module, nn.MultiheadAttention):
                return Several(Value(rank=getattr(args[0], "rank", None), lost=result.lost))
            return result
        x = self.ctx.as_value(args[0])
        return self.ctx.checked(rule(self.ctx, module, own, x, *args[1:], **kwargs))

    def _parameter(self, path: str, module: nn.Module, name: str) -> ParameterRef | Value | None:
        """A layer's parameter by name, or what computes it."""
        inner, _, name = name.rpartition(".")
        path, module = _join(path, inner), module.get_submodule(inner)
        if name in module._parameters:
            parameter = module._parameters[name]
            return None if parameter is None else self._of_tensor(parameter)
        chain: Any = getattr(module, "parametrizations", {})
        if name not in chain:
            return hooked(self.ctx, module, name, partial(self._parameter, path, module))
        value: Any = None
        for step, part in enumerate(chain[name]):
            given = (value,) if step else self._originals(chain[name])
            value = computed(self.ctx, part, given)
            if value is None:
                inside = _join(path, f"parametrizations.{name}.{step}")
                value = self._apply(inside, part, given[0]) if len(given) == 1 else Value()
        return self.ctx.as_value(value)

    def _originals(self, part: nn.Module) -> tuple[Value, ...]:
        originals = [p for p in part._parameters.values() if p is not None]
        return tuple(self.ctx.as_value(self._of_tensor(p)) for p in originals)

    def _opaque(self, path: str, module: nn.Module, why: str, args: Any) -> Value:
        """A module whose forward cannot be followed: its parts are read one by one."""
        self.failures[path] = why
        for name in self._own_names(module, recurse=False):
            self.parameters.drop(name, f"forward of {type(module).__name__} cannot be traced")
        self._children(path, module)
        parameters = parameters_in(args)
        if len(parameters) != 1 or values_in(args):
            return self.ctx.unknown(type(module).__name__, args)
        weight = self.ctx.as_value(parameters[0])  # quantized, say, and used like the parameter
        self.ctx.pin(weight)
        return weight

    def _children(self, path: str, module: nn.Module) -> None:
        for name, child in module.named_children():
            self.alone(_join(path, name), child)

    def _unreached(self, path: str, module: nn.Module) -> None:
        """Reads what the forward pass did not come by."""
        known = [self.parameters.is_known(n) for n in self._own_names(module, recurse=True)]
        if known and not any(known):
            self.alone(path, module)
        elif not all(known):
            for name in self._own_names(module, recurse=False):
                if not self.parameters.is_known(name):
                    self.parameters.drop(name, "is not used in the forward pass")
            for name, child in module.named_children():
                self._unreached(_join(path, name), child)

    def _own_names(self, module: nn.Module, *, recurse: bool) -> Iterator[str]:
        return (self.names[id(p)] for p in module.parameters(recurse) if id(p) in self.names)

    def _unwrap(self, prefix: str, module: nn.Module) -> tuple[str, nn.Module]:
        """The module inside wrappers that only forward to it (DataParallel, torch.compile)."""
        wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
        compiled = getattr(module, "_orig_mod", None)
        if isinstance(module, wrappers):
            return self._unwrap(_join(prefix, "module"), module.module)
        if isinstance(compiled, nn.Module):
            return self._unwrap(_join(prefix, "_orig_mod"), compiled)
        return prefix, module


def _is_needed(parameter: Parameter) -> bool:
    """Whether a call must give an argument."""
    return parameter.default is Parameter.empty and parameter.kind in (
        Parameter.POSITIONAL_ONLY,
        Parameter.POSITIONAL_OR_KEYWORD,
    )


def is_ready(parameter: Tensor) -> bool:
    """Whether a parameter has a shape (those of lazy layers have none before the first call)."""
    return not isinstance(parameter, torch.nn.parameter.UninitializedParameter)


def _with_rank(result: Any, rank: int | None) -> Any:
    """A tensor whose shape is unpacked into so many names."""
    unknown = isinstance(result, Value) and result.rank is None
    return replace(result, rank=rank) if unknown and rank is not None else result


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments without those that are None at the end, the first of them by position."""
    while args and args[-1] is None:
        args = args[:-1]
    named = {name: item for name, item in kwargs.items() if item is not None}
    if not args and named:
        args = (named.pop(next(iter(named))),)
    return args, named


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name
