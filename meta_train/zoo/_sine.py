"""SIRENs as functions of their parameters, and their error with its gradient written out.

Shape legend: `n` fields, `d` coordinates, `c` values, `m` points.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nfn_optim import NetworkSpec

from ..tasks import Params
from ._engine import as_params


def layers_of(params: Params) -> list[Tensor]:
    """Weight, bias, weight, bias, ... in the order of the layers."""
    order = sorted({int(name.split(".")[0]) for name in params})
    return [params[f"{layer}.{kind}"] for layer in order for kind in ("weight", "bias")]


def field(params: Params, coords: Tensor, omega: float) -> Tensor:
    """One SIREN, `(d, m)` to `(c, m)`; scaling weights is cheaper than scaling activations."""
    *hidden, weight, bias = layers_of(params)
    for w, b in zip(hidden[::2], hidden[1::2], strict=True):
        coords = torch.sin(torch.addmm(omega * b[:, None], omega * w, coords))
    return torch.addmm(bias[:, None], weight, coords)


def mean_square(
    weights: Tensor, coords: Tensor, values: Tensor, spec: NetworkSpec, omega: float
) -> Tensor:
    """Mean squared error of one SIREN at coords `(d, m)`; to be called under `vmap`.

    Its gradient is computed along with it, which takes fewer passes over activations than autograd.

    Args:
        weights: All parameters, one after another.
        coords: Points.
        values: Values there, `(c, m)`.
        spec: Says which parameters there are.
        omega: Frequency factor.
    """
    error: Tensor = _MeanSquare.apply(weights, coords, values, spec, omega)[0]
    return error


class _MeanSquare(torch.autograd.Function):
    """Errors `(n,)` of stacked SIRENs, and the gradients `(n, weights)`."""

    @staticmethod
    def forward(
        weights: Tensor, coords: Tensor, values: Tensor, spec: NetworkSpec, omega: float
    ) -> tuple[Tensor, Tensor]:
        """Everything is computed here, for stacked fields only."""
        return _error_and_gradient(as_params(spec, weights), coords, values, omega)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        """Keeps the gradients."""
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, adjoint: Tensor, unused: Tensor) -> Any:
        """The chain rule, field by field."""
        return adjoint[:, None] * ctx.saved_tensors[0], None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """Stacked fields are what the other methods are written for."""
        return _MeanSquare.apply(*args), 0


def _error_and_gradient(
    params: Params, coords: Tensor, values: Tensor, omega: float
) -> tuple[Tensor, Tensor]:
    layers = layers_of(params)
    scales = [omega] * (len(layers) // 2 - 1) + [1.0]
    weights = [scale * w for scale, w in zip(scales, layers[::2], strict=True)]
    biases = [scale * b.unsqueeze(-1) for scale, b in zip(scales, layers[1::2], strict=True)]
    inputs, slopes = [coords], []
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        phase = torch.baddbmm(bias, weight, inputs[-1])
        slopes.append(phase.cos())
        inputs.append(phase.sin_())
    residual = torch.baddbmm(biases[-1], weights[-1], inputs[-1]).sub_(values)
    error = residual.square().mean((1, 2))
    adjoint = residual.mul_(2 / residual[0].numel())
    grads: list[Tensor] = []
    for layer in reversed(range(len(weights))):
        by_weight, by_bias = torch.bmm(adjoint, inputs[layer].mT), adjoint.sum(-1)
        grads = [scales[layer] * by_weight.flatten(1), scales[layer] * by_bias, *grads]
        if layer:
            adjoint = torch.bmm(weights[layer].mT, adjoint).mul_(slopes[layer - 1])
    return error, torch.cat(grads, dim=1)
