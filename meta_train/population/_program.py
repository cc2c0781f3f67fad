"""Reads a module's layers for native code, which has convolutions, linear layers and sines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from torch import nn

from nfn_optim import NetworkSpec
from nfn_optim.native.population import Layer, Program

from ._sine import Sine
from ._stacked import is_plain


def read(module: nn.Sequential, spec: NetworkSpec, shape: Sequence[int]) -> Program | None:
    """What native code has to know of a network; None if it has no way for it.

    Args:
        module: Its layers.
        spec: Its parameters in their order.
        shape: Of one input, `(c, h, w)` or `(c,)`.
    """
    sizes = [prod(spec.stored[name]) for name in spec.names]
    start = {name: sum(sizes[:i]) for i, name in enumerate(spec.names)}
    if len(shape) > 3 or {n: tuple(p.shape) for n, p in module.named_parameters()} != spec.stored:
        return None
    channels, height, width = (*shape, 1, 1)[:3]
    layers: list[Layer] = []
    omegas: set[float] = set()
    for name, part in module.named_children():
        if isinstance(part, nn.Conv2d | nn.Linear):
            size = layers[-1].result if layers else (channels, height, width)
            is_mean = bool(layers and layers[-1].pooled)
            if not _can_read(part, size) or (is_mean and _border(part)):
                return None  # means are written without a border
            places = start[f"{name}.weight"], start[f"{name}.bias"]
            layers.append(_convolution(part, size, *places))
        elif not isinstance(part, nn.Flatten):
            if not layers or not (more := _follow(layers[-1], part)):
                return None
            layers[-1] = more
            omegas |= {part.omega} if isinstance(part, Sine) else set()
    if not layers or len(omegas) > 1 or layers[-1].result[1:] != (1, 1):
        return None
    return Program(tuple(layers), tuple(shape), sum(sizes), max(omegas, default=1.0))


def _can_read(part: nn.Conv2d | nn.Linear, size: tuple[int, int, int]) -> bool:
    """Whether a layer fits to what comes before, and has a bias and no special options."""
    if isinstance(part, nn.Linear):
        return part.bias is not None and part.in_features == prod(size)
    plain = is_plain(part) and part.bias is not None and part.in_channels == size[0]
    return plain and min(size[1:]) + 2 * _border(part) >= part.kernel_size[0]


def _border(part: nn.Conv2d | nn.Linear) -> int:
    """How wide the zeros around its input are."""
    return 0 if isinstance(part, nn.Linear) else int(part.padding[0])


def _convolution(
    part: nn.Conv2d | nn.Linear, size: tuple[int, int, int], weight: int, bias: int
) -> Layer:
    if isinstance(part, nn.Linear):
        _, height, width = size
        return Layer(*size, height, width, 1, 0, part.out_features, 0, 0, weight, bias)
    height, width = part.kernel_size
    stride, border = part.stride[0], _border(part)
    return Layer(*size, height, width, stride, border, part.out_channels, 0, 0, weight, bias)


def _follow(layer: Layer, part: nn.Module) -> Layer | None:
    """A layer with what comes after its sum; None if there is no native code for it."""
    if layer.pooled:
        return None
    if isinstance(part, nn.AdaptiveAvgPool2d):
        return replace(layer, pooled=1)
    kinds = {nn.ReLU: 1, nn.Tanh: 2, Sine: 3}
    if layer.activation or type(part) not in kinds:
        return None
    return replace(layer, activation=kinds[type(part)])
