"""Reads modules for native code: those that are a chain of layers that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

from torch import nn

from ._program import Layer

# As `Activation` of `layer.h` counts them.
ACTIVATIONS: Mapping[type[nn.Module], int] = {
    nn.ReLU: 1,
    nn.Tanh: 2,
    nn.GELU: 4,
    nn.SiLU: 5,
    nn.Sigmoid: 6,
}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Read(NamedTuple):
    """A layer that was read.

    Attributes:
        layer: Where its parameters are in a row is left open.
        weight: Name of its weight.
        bias: Name of its bias; None if it has none.
    """

    layer: Layer
    weight: str
    bias: str | None


def read_layers(
    module: nn.Module,
    shape: Sequence[int],
    activations: Mapping[type[nn.Module], int] = ACTIVATIONS,
) -> list[Read] | None:
    """What native code has to know of a network; None if it may be anything else.

    It knows `nn.Sequential`s, nested ones too, of plain `Conv2d` and `Linear`, activations, means
    over all places and `Flatten`, all of them as torch has them, with outputs `(b, out)`.

    Args:
        module: The network. Its parameters are those of the layers, each read once.
        shape: Of one input, `(c, h, w)` or `(c,)`.
        activations: Native code's number of each kind.
    """
    now = tuple(shape)  # of one sample, as torch has it
    channels, height, width = (*shape, 1, 1)[:3] if len(shape) <= 3 else (prod(shape), 1, 1)
    found: list[Read] = []
    for prefix, part in _parts(module):
        last = found[-1].layer if found else None
        if type(part) in (nn.Conv2d, nn.Linear):
            if not _can_follow(part, now, last):
                return None
            size = last.result if last else (channels, height, width)
            bias = None if part.bias is None else prefix + "bias"
            found.append(Read(_layer(part, size), prefix + "weight", bias))
            now = found[-1].layer.result[: len(now)]
        elif type(part) is nn.Flatten and (part.start_dim, part.end_dim) == (1, -1):
            now = (prod(now),)
        elif type(part) is not nn.Identity:
            more = _followed(last, part, activations)
            if more is None or (more.pooled and len(now) != 3):
                return None
            found[-1] = found[-1]._replace(layer=more)
            now = (*now[:1], 1, 1) if more.pooled else now
    read = [name for one in found for name in (one.weight, one.bias) if name is not None]
    is_whole = read == [name for name, _ in module.named_parameters()]
    return found if found and is_whole and now == (found[-1].layer.out,) else None


def is_plain(layer: nn.Conv2d) -> bool:
    """Whether a convolution is square and has no options but stride and zero padding."""
    return (
        layer.groups == 1
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
        and layer.dilation == (1, 1)
        and len(set(layer.kernel_size)) == len(set(layer.stride)) == len(set(layer.padding)) == 1
    )


def _parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested `nn.Sequential`s, one after another, and what their names begin with.

    One that does more than its class says comes as a plain `nn.Module`, which nobody knows.
    """
    if "forward" in vars(module) or any(getattr(module, hooks) for hooks in _HOOKS):
        yield prefix, nn.Module()
    elif type(module) is nn.Sequential:
        for name, part in module._modules.items():
            assert part is not None
            yield from _parts(part, f"{prefix}{name}.")
    else:
        yield prefix, module


def _can_follow(part: nn.Module, now: tuple[int, ...], last: Layer | None) -> bool:
    """Whether a layer reads what is there, in a way that native code has."""
    if not _is_as_large_as_told(part):
        return False
    if isinstance(part, nn.Linear):
        return now == (part.in_features,)
    assert isinstance(part, nn.Conv2d)
    border = part.padding[0]
    return (
        is_plain(part)
        and len(now) == 3
        and now[0] == part.in_channels
        and min(now[1:]) + 2 * int(border) >= part.kernel_size[0]
        and not (border and last and last.pooled)  # means are written without a border
    )


def _is_as_large_as_told(part: nn.Module) -> bool:
    """Whether parameters are of a layer's sizes: those of pruned layers may have been replaced."""
    if isinstance(part, nn.Linear):
        shape: tuple[int, ...] = (part.out_features, part.in_features)
    else:
        assert isinstance(part, nn.Conv2d)
        shape = (part.out_channels, part.in_channels // part.groups, *part.kernel_size)
    return part.weight.shape == shape and (part.bias is None or part.bias.shape == shape[:1])


def _layer(part: nn.Module, size: tuple[int, int, int]) -> Layer:
    if isinstance(part, nn.Linear):
        return Layer(*size, *size[1:], 1, 0, part.out_features, 0, 0, 0, 0)
    assert isinstance(part, nn.Conv2d)
    stride, border = part.stride[0], int(part.padding[0])
    height, width = part.kernel_size
    return Layer(*size, height, width, stride, border, part.out_channels, 0, 0, 0, 0)


def _followed(
    layer: Layer | None, part: nn.Module, activations: Mapping[type[nn.Module], int]
) -> Layer | None:
    """A layer with what comes after its sum; None if native code has no way for it."""
    if layer is None or layer.pooled:
        return None
    if type(part) is nn.AdaptiveAvgPool2d and part.output_size in (1, (1, 1)):
        return replace(layer, pooled=1)
    is_known = type(part) in activations and getattr(part, "approximate", "none") == "none"
    if layer.activation or not is_known:
        return None
    return replace(layer, activation=activations[type(part)])
