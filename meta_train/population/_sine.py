"""SIRENs as functions of their parameters, and their error with its gradient written out.

Shape legend: `n` fields, `d` coordinates, `c` values, `m` points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec

from ..tasks import Params
from ._rows import as_params


class Sine(nn.Module):
    """`sin(omega * x)`."""

    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return torch.sin(self.omega * x)


def layers_of(params: Params) -> list[Tensor]:
    """Weight, bias, weight, bias, ... in the order of the layers."""
    order = sorted({int(name.split(".")[0]) for name in params})
    return [params[f"{layer}.{kind}"] for layer in order for kind in ("weight", "bias")]


def siren_values(params: Params, coords: Tensor, omega: float) -> Tensor:
    """One SIREN, `(d, m)` to `(c, m)`; scaling weights is cheaper than scaling activations."""
    *hidden, weight, bias = layers_of(params)
    for w, b in zip(hidden[::2], hidden[1::2], strict=True):
        coords = torch.sin(torch.addmm(omega * b[:, None], omega * w, coords))
    return torch.addmm(bias[:, None], weight, coords)


def mean_square(
    weights: Tensor, coords: Tensor, values: Tensor, *, spec: NetworkSpec, omega: float
) -> tuple[Tensor, Tensor]:
    """Mean squared errors `(n,)` of stacked SIRENs, and their gradients, shaped like the weights.

    Written out, this takes fewer passes over activations than autograd.

    Args:
        weights: All parameters of each field, `(n, entries)`.
        coords: Points, `(n, d, m)`.
        values: Values there, `(n, c, m)`.
        spec: Says which parameters there are.
        omega: Frequency factor.
    """
    layers = layers_of(as_params(spec, weights))
    scales = [omega] * (len(layers) // 2 - 1) + [1.0]
    matrices = [scale * w for scale, w in zip(scales, layers[::2], strict=True)]
    biases = [scale * b.unsqueeze(-1) for scale, b in zip(scales, layers[1::2], strict=True)]
    inputs, slopes = [coords], []
    for weight, bias in zip(matrices[:-1], biases[:-1], strict=True):
        phase = torch.baddbmm(bias, weight, inputs[-1])
        slopes.append(phase.cos())
        inputs.append(phase.sin_())
    residual = torch.baddbmm(biases[-1], matrices[-1], inputs[-1]).sub_(values)
    error = residual.square().mean((1, 2))
    adjoint = residual.mul_(2 / residual[0].numel())
    grads: list[Tensor] = []
    for layer in reversed(range(len(matrices))):
        by_weight, by_bias = torch.bmm(adjoint, inputs[layer].mT), adjoint.sum(-1)
        grads = [scales[layer] * by_weight.flatten(1), scales[layer] * by_bias, *grads]
        if layer:
            adjoint = torch.bmm(matrices[layer].mT, adjoint).mul_(slopes[layer - 1])
    return error, torch.cat(grads, dim=1)
