"""A step of `NFNRule` in native code, in place: the same to rounding, and faster on a CPU.

It reads and writes what `NFNRule.forward` does, and is tested against it.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...rules import NFNRule, Params
from ...symmetry import NetworkSpec
from .. import are_float32, check, dense, pointer, table
from ._layout import LAYER, SLOTS, Layout, layout_of, weights_of
from ._library import LIBRARY

__all__ = ["LIBRARY", "fits", "step"]


def fits(
    rule: NFNRule, params: Params, grads: Params, slots: Mapping[str, dict[str, Tensor]]
) -> bool:
    """Whether a step can be native: a plain rule, float32 on a CPU, and nothing is compiling."""
    if type(rule) is not NFNRule or torch.compiler.is_compiling():
        return False
    return are_float32([*_weights(rule), *_held(params, params, grads, slots)])


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

    Raises:
        ValueError: If a tensor is not what the spec says; then nothing has changed.
    """
    layout, weights = layout_of(spec, rule.direction), _weights(rule)
    held = _held(layout.names, params, grads, slots)
    check([*held, *weights], [*layout.tensors, *weights_of(rule.config.hidden)])
    opened, weights = _open(layout, held), list(map(dense, weights))
    by_name = dict(zip(params, rates, strict=True))
    factors = [factor for name in layout.names for factor in by_name[name]]
    norms = torch.empty(len(layout.names), dtype=torch.float32, device="cpu")
    LIBRARY.load().nfn_step(
        ctypes.c_long(len(layout.names)),
        table(layout.numbers),
        table(layout.fans),
        ctypes.c_long(len(layout.sizes)),
        table(layout.sizes),
        table(array("Q", map(pointer, opened))),
        table(array("d", factors)),
        table(array("Q", map(pointer, weights))),
        table(array("f", _limits(rule))),
        ctypes.c_int(rule.config.hidden),
        ctypes.c_int(torch.get_num_threads()),
        ctypes.c_void_p(pointer(norms)),
    )
    _write_back(layout, held, opened)
    torch.autograd.graph.increment_version(params.values())
    found = dict(zip(layout.names, norms.unbind(), strict=True))
    return [found[name] for name in params]


def _held(
    names: Sequence[str] | Params,
    params: Params,
    grads: Params,
    slots: Mapping[str, dict[str, Tensor]],
) -> list[Tensor]:
    """Value, gradient and slots of each parameter."""
    return [
        tensor
        for name in names
        for tensor in (params[name], grads[name], *[slots[name][slot] for slot in SLOTS])
    ]


def _open(layout: Layout, held: list[Tensor]) -> list[Tensor]:
    """The tensors in the order of the spec's axes, dense: themselves where they are, or copies."""
    opened = list(map(dense, held))
    for i, name in enumerate(layout.reordered):
        if name is not None:
            opened[i] = dense(layout.spec.view(name, opened[i]))
    return opened


def _write_back(layout: Layout, held: list[Tensor], opened: list[Tensor]) -> None:
    """Copies go back to what they are copies of."""
    for i, (tensor, used) in enumerate(zip(held, opened, strict=True)):
        if used is not tensor and layout.tensors[i].is_written:
            name = layout.reordered[i]
            tensor.copy_(used if name is None else layout.spec.unview(name, used))


def _weights(rule: NFNRule) -> list[Tensor]:
    """The meta-parameters."""
    layers = [getattr(layer, name) for layer in (rule.read, rule.write) for name in LAYER]
    return [*layers, rule.schedule.weight, rule.schedule.bias]


def _limits(rule: NFNRule) -> tuple[float, ...]:
    """As `Limits` of `step.cpp` has them."""
    limits = rule.config.limits
    return limits.horizon, limits.memory, limits.log_fan_in, limits.weight_size
