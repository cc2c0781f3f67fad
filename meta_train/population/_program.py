"""Reads a module's layers for native code, which has convolutions, linear layers and sines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from torch import nn

from nfn_optim import NetworkSpec
from nfn_optim.native.population import Program, read_layers

from ._sine import Sine

_ACTIVATIONS = {nn.ReLU: 1, nn.Tanh: 2, Sine: 3}  # as `Activation` of `layer.h` counts them


def read(module: nn.Sequential, spec: NetworkSpec, shape: Sequence[int]) -> Program | None:
    """What native code has to know of a network; None if it has no way for it.

    Args:
        module: Its layers.
        spec: Its parameters in their order.
        shape: Of one input, `(c, h, w)` or `(c,)`.
    """
    sizes = [prod(spec.stored[name]) for name in spec.names]
    start = {name: sum(sizes[:i]) for i, name in enumerate(spec.names)}
    if {n: tuple(p.shape) for n, p in module.named_parameters()} != spec.stored:
        return None
    omegas = {part.omega for part in module.modules() if isinstance(part, Sine)}
    found = read_layers(module, shape, _ACTIVATIONS)
    if found is None or len(omegas) > 1 or len(shape) > 3:
        return None
    layers = [
        replace(one.layer, weight=start[one.weight], bias=start[one.bias])
        for one in found
        if one.bias is not None
    ]
    if len(layers) < len(found):
        return None
    return Program(tuple(layers), tuple(shape), sum(sizes), max(omegas, default=1.0))
