"""Many `nn.Sequential`s of one structure at once, on samples of their own.

Convolutions are grouped ones, a group for each network, with channels last in memory: libraries
have fast kernels for that, forward and back, and nothing is unfolded. Linear layers are batched
products.

Shape legend: `n` networks, `b` samples, `c` channels, `h` rows and `w` columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim.native.population import is_plain

from ..tasks import Params

_ACTIVATIONS = (nn.ReLU, nn.Tanh)


def forward(
    module: nn.Sequential, params: Params, images: Tensor, keep: Sequence[Tensor] = ()
) -> Tensor:
    """Outputs `(n, b, classes)`.

    Args:
        module: Says which layers there are.
        params: Their stacked parameters by name.
        images: `(n, b, c, h, w)`.
        keep: Factors `(n, b, c)` of the channels after each activation: dropout.
    """
    factors, n, x, is_grouped = iter(keep), len(images), images, False
    for name, layer in module.named_children():
        if isinstance(layer, nn.Conv2d):
            x = _convolve(layer, name, params, x if is_grouped else _grouped(x))
            is_grouped = True
        elif isinstance(layer, nn.Linear):
            weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
            x = torch.baddbmm(bias[:, None], x, weight.mT)
        elif isinstance(layer, _ACTIVATIONS):
            x = layer(x)
            if (factor := next(factors, None)) is not None:
                x = x * _grouped(factor[..., None, None]) if is_grouped else _scaled(x, factor)
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            x = x.mean((2, 3), keepdim=True)
        else:
            x = x.unflatten(1, (n, -1)).transpose(0, 1) if is_grouped else x
            x, is_grouped = x.flatten(2), False
    return x


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean losses `(n,)` of logits `(n, b, classes)` and targets `(n, b)`."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(targets.shape).mean(1)


def check_layers(module: nn.Sequential) -> None:
    """Whether `forward` computes what the module does.

    Raises:
        ValueError: Naming the first layer that it does not know.
    """
    if len(list(module.children())) < len(module):
        raise ValueError("one layer appears twice. Make a new one for every place.")
    for name, layer in module.named_children():
        known = isinstance(layer, (nn.Linear, nn.Flatten, *_ACTIVATIONS))
        known |= isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1))
        known |= isinstance(layer, nn.Conv2d) and is_plain(layer)
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


def _grouped(x: Tensor) -> Tensor:
    """`(n, b, c, h, w)` as samples with the channels of all networks, `(b, n * c, h, w)`."""
    samples = x.transpose(0, 1).flatten(1, 2)
    return samples.contiguous(memory_format=torch.channels_last)


def _scaled(x: Tensor, factor: Tensor) -> Tensor:
    """Features `(n, b, c * h * w)` times factors of their channels `(n, b, c)`."""
    return (x.unflatten(2, (factor.shape[2], -1)) * factor[..., None]).flatten(2)


def _convolve(layer: nn.Conv2d, name: str, params: Params, x: Tensor) -> Tensor:
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    return F.conv2d(
        x,
        weight.flatten(0, 1),
        bias.flatten(),
        layer.stride,
        layer.padding,
        groups=len(weight),
    )
