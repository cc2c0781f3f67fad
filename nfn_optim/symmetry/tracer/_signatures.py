"""Functions of torch.nn.functional that take parameters, as the rules of layers want them."""

from __future__ import annotations

from typing import Any

from . import _layers
from ._context import Context
from ._value import Value


def conv(
    ctx: Context,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """`F.conv1d`, `F.conv2d`, `F.conv3d`."""
    return _layers.convolution(ctx, x, weight, bias, groups=groups)


def conv_transpose(
    ctx: Context,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """`F.conv_transpose1d` and its like."""
    return _layers.convolution(ctx, x, weight, bias, groups=groups, transposed=True)


def layer_norm(
    ctx: Context, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: Any = 0
) -> Value:
    """`F.layer_norm`."""
    return _layers.layer_norm(ctx, x, normalized_shape, weight, bias)


def rms_norm(
    ctx: Context, x: Any, normalized_shape: Any, weight: Any = None, eps: Any = 0
) -> Value:
    """`F.rms_norm`."""
    return _layers.layer_norm(ctx, x, normalized_shape, weight)
