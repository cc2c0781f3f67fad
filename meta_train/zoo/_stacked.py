"""Many `nn.Sequential`s of one structure at once, forward and back, with samples on the last axis.

A convolution is then one batched product of the weights, as they are stored, for all networks,
samples and positions. The way back is written out: it takes half of the time of autograd's under
`vmap`, most of which is memory traffic.

Shape legend: `n` networks, `c` channels, `h` rows and `w` columns, `b` samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..tasks import Params

_ACTIVATIONS = (nn.ReLU, nn.Tanh)
Back = Callable[[Tensor, Params, bool], Tensor]
"""`(adjoint of the output, gradients to add to, whether the input's is needed) -> adjoint`."""


def forward(
    module: nn.Sequential, params: Params, x: Tensor, keep: Sequence[Tensor] = ()
) -> tuple[Tensor, list[Back]]:
    """Outputs `(n, classes, b)` for inputs `(n, c, h, w, b)`, and the way back, layer by layer.

    Args:
        module: Says which layers there are.
        params: Their stacked parameters by name.
        x: Inputs.
        keep: Factors `(n, c, b)` of the channels after each activation: dropout.
    """
    factors, way = iter(keep), []
    for name, layer in module.named_children():
        if isinstance(layer, nn.Conv2d):
            x, back = _convolve(layer, name, params, x)
        elif isinstance(layer, nn.Linear):
            x, back = _multiply(name, params, x)
        elif isinstance(layer, _ACTIVATIONS):
            x, back = _activate(layer, x, next(factors, None))
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            x, back = _average(x)
        else:
            x, back = _flatten(x)
        way.append(back)
    return x, way


def gradients(way: Sequence[Back], adjoint: Tensor) -> Params:
    """Gradients by name from the adjoint of the outputs `(n, classes, b)`."""
    grads: Params = {}
    for index in reversed(range(len(way))):
        adjoint = way[index](adjoint, grads, index > 0)
    return grads


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean losses `(n,)` of logits `(n, classes, b)` and targets `(n, b)`; the logits' adjoint."""
    logs, chosen = logits.log_softmax(1), targets[:, None]
    losses = -logs.gather(1, chosen).mean((1, 2))
    adjoint = logs.exp().scatter_add_(1, chosen, -torch.ones_like(logs[:, :1]))
    return losses, adjoint / targets.shape[1]


def check(module: nn.Sequential) -> None:
    """Whether `forward` computes what the module does.

    Raises:
        ValueError: Naming the first layer that it does not know.
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


def hidden_channels(module: nn.Sequential) -> list[int]:
    """Number of channels at each activation."""
    channels, found = 0, []
    for layer in module:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            channels = layer.weight.shape[0]
        elif isinstance(layer, _ACTIVATIONS):
            found.append(channels)
    return found


def _is_plain(layer: nn.Conv2d) -> bool:
    return (
        layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
        and layer.dilation == (1, 1)
        and len(set(layer.kernel_size)) == len(set(layer.stride)) == len(set(layer.padding)) == 1
    )


def _multiply(name: str, params: Params, x: Tensor) -> tuple[Tensor, Back]:
    """A linear map of `x`, `(n, c, b)`."""
    weight, bias = params[f"{name}.weight"].flatten(2), params[f"{name}.bias"]

    def back(adjoint: Tensor, grads: Params, is_needed: bool) -> Tensor:
        grads[f"{name}.weight"] = torch.bmm(adjoint, x.mT)
        grads[f"{name}.bias"] = adjoint.sum(-1)
        return torch.bmm(weight.mT, adjoint) if is_needed else adjoint

    return torch.baddbmm(bias.unsqueeze(-1), weight, x), back


def _convolve(layer: nn.Conv2d, name: str, params: Params, x: Tensor) -> tuple[Tensor, Back]:
    kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    if padding:
        x = F.pad(x, (0, 0, padding, padding, padding, padding))
    n, channels, *image, samples = x.shape
    size = [(length - kernel) // stride + 1 for length in image]
    patches = x.new_empty(n, channels, kernel * kernel, *size, samples)
    for tap, seen in enumerate(_windows(kernel, stride, size)):
        patches[:, :, tap] = x[seen]
    out, multiply_back = _multiply(name, params, patches.flatten(3).flatten(1, 2))

    def back(adjoint: Tensor, grads: Params, is_needed: bool) -> Tensor:
        adjoint = multiply_back(adjoint.flatten(2), grads, is_needed)
        if not is_needed:
            return adjoint
        taps = adjoint.view(patches.shape)
        total = taps.new_zeros(n, channels, *image, samples)
        for tap, seen in enumerate(_windows(kernel, stride, size)):
            total[seen] += taps[:, :, tap]
        inner = slice(padding, -padding or None)
        return total[:, :, inner, inner]

    return out.unflatten(-1, (*size, samples)), back


def _windows(kernel: int, stride: int, size: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """What each tap of a kernel sees of `(n, c, h, w, b)`."""
    rows, columns = ((length - 1) * stride + 1 for length in size)
    for i in range(kernel):
        for j in range(kernel):
            yield (
                slice(None),
                slice(None),
                slice(i, i + rows, stride),
                slice(j, j + columns, stride),
            )


def _activate(layer: nn.Module, x: Tensor, factor: Tensor | None) -> tuple[Tensor, Back]:
    is_relu = isinstance(layer, nn.ReLU)
    y = x.relu() if is_relu else x.tanh()
    if factor is not None and x.dim() == 5:
        factor = factor[:, :, None, None]

    def back(adjoint: Tensor, grads: Params, is_needed: bool) -> Tensor:
        if factor is not None:
            adjoint = adjoint * factor
        if is_relu:
            return torch.ops.aten.threshold_backward(adjoint, y, 0)
        return torch.ops.aten.tanh_backward(adjoint, y)

    return y if factor is None else y * factor, back


def _average(x: Tensor) -> tuple[Tensor, Back]:
    def back(adjoint: Tensor, grads: Params, is_needed: bool) -> Tensor:
        return (adjoint / x[0, 0, ..., 0].numel()).expand_as(x)

    return x.mean((2, 3), keepdim=True), back


def _flatten(x: Tensor) -> tuple[Tensor, Back]:
    def back(adjoint: Tensor, grads: Params, is_needed: bool) -> Tensor:
        return adjoint.view(x.shape)

    return x.reshape(len(x), -1, x.shape[-1]), back
