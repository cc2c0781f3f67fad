"""A step of `NFNRule` in native code, in place: the same to rounding, and faster on a CPU.

It reads and writes what `NFNRule.forward` does, and is tested against it.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ...layers.relational import roles_of
from ...rules import NFNRule, Params, Spectral, log_fans
from ...symmetry import NetworkSpec
from .. import address, has_memory
from ._library import can_build, library

__all__ = ["can_build", "fits", "library", "step"]

_LAYER = ("entry", "vector", "taps", "own", "neurons", "network", "bias")
_WRITTEN = ("momenta", "square", "lead")


def fits(rule: NFNRule, params: Params, slots: Mapping[str, dict[str, Tensor]]) -> bool:
    """Whether a step can be native: a plain rule, float32 on a CPU, and nothing is compiling."""
    if type(rule) is not NFNRule or torch.compiler.is_compiling():
        return False
    held = (tensor for name in params for tensor in (params[name], *slots[name].values()))
    tensors = (rule.schedule.bias, *held)
    return all(map(has_memory, tensors))


def step(
    rule: NFNRule,
    params: Params,
    grads: Params,
    slots: Mapping[str, dict[str, Tensor]],
    spec: NetworkSpec,
    rates: Sequence[tuple[float, float]],
) -> Sequence[Tensor]:
    """Takes one step, in place: parameters become `keep * param + rate * delta`.

    Args:
        rule: Whose step it is.
        params: Float32 tensors by name, as the spec stores them.
        grads: Their gradients.
        slots: Their state, which is written to.
        spec: The network's spec.
        rates: `(rate, keep)` of each parameter, in the order of `params`.

    Returns:
        The norm of each parameter's `delta`.
    """
    layout = _layout(spec, rule.direction)
    opened = [_Opened.of(layout.spec, n, params[n], grads[n], slots[n]) for n in layout.names]
    pointers = [pointer for one in opened for pointer in one.pointers]
    by_name = dict(zip(params, rates, strict=True))
    factors = [factor for name in layout.names for factor in by_name[name]]
    norms = torch.empty(len(opened))
    library().nfn_step(
        ctypes.c_long(len(opened)),
        address(layout.numbers),
        address(layout.fans),
        ctypes.c_long(len(layout.sizes)),
        address(layout.sizes),
        address(array("Q", pointers)),
        address(array("d", factors)),
        address(array("Q", _weights(rule))),
        address(array("f", _limits(rule))),
        ctypes.c_int(rule.config.hidden),
        ctypes.c_int(torch.get_num_threads()),
        ctypes.c_void_p(norms.data_ptr()),
    )
    for one in opened:
        one.close()
    torch.autograd.graph.increment_version(params.values())
    found = dict(zip(layout.names, norms.unbind(), strict=True))
    return [found[name] for name in params]


@dataclass(frozen=True)
class _Opened:
    """One parameter's tensors, dense and in the order of the spec's axes.

    Attributes:
        dense: What the step reads and writes.
        copied: Copies of what is not stored so, and what they have to go back to.
    """

    dense: list[Tensor]
    copied: list[tuple[Tensor, Tensor]]

    @classmethod
    def of(
        cls, spec: NetworkSpec, name: str, param: Tensor, grad: Tensor, slot: dict[str, Tensor]
    ) -> _Opened:
        views = [spec.view(name, x) for x in (param, grad, *(slot[key] for key in _WRITTEN))]
        dense = [view.contiguous() for view in views]
        copied = [(x, view) for x, view in zip(dense, views, strict=True) if x is not view]
        return cls([*dense, slot["step"], slot["num_steps"]], copied)

    @property
    def pointers(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self.dense]

    def close(self) -> None:
        """Writes copies back."""
        for copy, view in self.copied:
            view.copy_(copy)


@dataclass(frozen=True)
class _Layout:
    """A network as numbers: six a parameter, three fans a parameter, and sizes of populations.

    `spec` has the order of axes that they are for.
    """

    spec: NetworkSpec
    names: list[str]
    numbers: array[int]
    fans: array[float]
    sizes: array[int]


@lru_cache(maxsize=64)
def _layout(spec: NetworkSpec, direction: Spectral) -> _Layout:
    roles, numbers, fans = roles_of(spec), array("q"), array("f")
    spec = roles.spec
    for p in roles.parameters:
        shape = spec.shapes[p.name]
        taps = torch.Size(shape[len(shape) - p.taps :]).numel()
        rows, columns = (1, shape[0]) if p.source is None else shape[:2]
        source = -1 if p.source is None else p.source
        is_polar = direction.is_polar(shape)
        numbers.extend((rows, columns, taps, p.out, source, is_polar))
        fans.extend(log_fans(spec, p.name))
    return _Layout(spec, [p.name for p in roles.parameters], numbers, fans, array("q", roles.sizes))


def _limits(rule: NFNRule) -> tuple[float, ...]:
    """As `Limits` of `step.cpp` has them."""
    limits = rule.config.limits
    return limits.horizon, limits.memory, limits.log_fan_in, limits.weight_size


def _weights(rule: NFNRule) -> list[int]:
    """Addresses of the meta-parameters."""
    tensors = [getattr(layer, name) for layer in (rule.read, rule.write) for name in _LAYER]
    return [t.data_ptr() for t in (*tensors, rule.schedule.weight, rule.schedule.bias)]
