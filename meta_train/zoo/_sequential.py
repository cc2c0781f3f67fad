"""An `nn.Sequential` with samples on the last axis: what is fast for many networks at once.

A convolution is then one matrix product of the weight, as it is stored, for all samples and
positions, and under `vmap` that of all networks is one batched product.

Shape legend: `c` channels, `h` rows and `w` columns, `b` samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..tasks import Params

_ACTIVATIONS = (nn.ReLU, nn.Tanh)


def run(module: nn.Sequential, params: Params, x: Tensor, keep: Sequence[Tensor] = ()) -> Tensor:
    """Outputs `(classes, b)` of one network for inputs `(c, h, w, b)`.

    Args:
        module: Says which layers there are.
        params: Their parameters by name.
        x: Inputs.
        keep: Factors `(c, b)` of the channels after each activation: dropout.
    """
    factors = iter(keep)
    for name, layer in module.named_children():
        if isinstance(layer, nn.Conv2d):
            x = _convolve(layer, params[f"{name}.weight"], params[f"{name}.bias"], x)
        elif isinstance(layer, nn.Linear):
            x = torch.addmm(params[f"{name}.bias"][:, None], params[f"{name}.weight"], x)
        elif isinstance(layer, _ACTIVATIONS):
            x = layer(x)
            if keep:
                factor = next(factors)
                x = x * (factor if x.dim() == 2 else factor[:, None, None])
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            x = x.mean((1, 2), keepdim=True)
        else:
            x = x.flatten(0, -2)
    return x


def check(module: nn.Sequential) -> None:
    """Whether `run` computes what the module does.

    Raises:
        ValueError: Naming the first layer that `run` does not know.
    """
    if len(list(module.children())) < len(module):
        raise ValueError("one layer appears twice. Make a new one for every place.")
    for name, layer in module.named_children():
        known = isinstance(layer, (nn.Linear, nn.Flatten, *_ACTIVATIONS))
        known |= isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1))
        known |= isinstance(layer, nn.Conv2d) and layer.groups == 1 and _is_plain(layer)
        if not known or getattr(layer, "bias", True) is None:
            raise ValueError(
                f"layer {name} is {layer}. A zoo's classifiers are made of Linear, Conv2d (with "
                "bias, zero padding, no groups or dilation), ReLU, Tanh, Flatten and "
                "AdaptiveAvgPool2d(1)."
            )


def _is_plain(layer: nn.Conv2d) -> bool:
    return (
        layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
        and layer.dilation == (1, 1)
        and len(set(layer.kernel_size)) == len(set(layer.stride)) == len(set(layer.padding)) == 1
    )


def hidden_channels(module: nn.Sequential) -> list[int]:
    """Number of channels at each activation."""
    channels, found = 0, []
    for layer in module:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            channels = layer.weight.shape[0]
        elif isinstance(layer, _ACTIVATIONS):
            found.append(channels)
    return found


def _convolve(layer: nn.Conv2d, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    (kernel, _), (stride, _), padding = layer.kernel_size, layer.stride, layer.padding[0]
    if padding:
        x = F.pad(x, (0, 0, int(padding), int(padding), int(padding), int(padding)))
    patches = _Patches.apply(x, kernel, stride)  # (c * taps, h_out, w_out, b)
    out = torch.addmm(bias[:, None], weight.flatten(1), patches.flatten(1))
    return out.view(-1, *patches.shape[1:])


class _Patches(torch.autograd.Function):
    """What each tap of a kernel sees, `(c, h, w, b)` to `(c * taps, h_out, w_out, b)`.

    The way back that torch has for `unfold` takes several times as long.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, kernel: int, stride: int) -> Tensor:
        """Copies; the last axis stays together."""
        windows = x.unfold(1, kernel, stride).unfold(2, kernel, stride)
        return windows.permute(0, 4, 5, 1, 2, 3).flatten(0, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        """Keeps sizes only."""
        ctx.shape, ctx.kernel, ctx.stride = inputs[0].shape, *inputs[1:]

    @staticmethod
    def backward(ctx: Any, adjoint: Tensor) -> tuple[Tensor, None, None]:
        """Adds what each tap saw to where it came from."""
        kernel, stride = ctx.kernel, ctx.stride
        rows, columns = ((adjoint.shape[axis] - 1) * stride + 1 for axis in (1, 2))
        taps = adjoint.unflatten(0, (ctx.shape[0], kernel, kernel))
        total = adjoint.new_zeros(ctx.shape)
        for i in range(kernel):
            for j in range(kernel):
                total[:, i : i + rows : stride, j : j + columns : stride] += taps[:, i, j]
        return total, None, None
