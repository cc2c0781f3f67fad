"""Random parameters that the training of neural fields starts from.

Shape legend: `n` fields; parameters are stacked, `(n, *shape)` by name.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from nfn_optim import NetworkSpec

from ..tasks import Params

FieldStart = Callable[[NetworkSpec, int, float, torch.Generator], Params]
"""Draws stacked parameters: from the fields' spec, their number, omega and a generator."""


def siren_start(spec: NetworkSpec, n: int, omega: float, generator: torch.Generator) -> Params:
    """SIREN's start: rows of the first layer as wide as 1 / fan-in, later ones by omega."""
    params: Params = {}
    for weight, bias in zip(spec.weights, spec.vectors, strict=True):
        fan_in = spec.stored[weight][1]
        bound = sqrt(6 / fan_in) / omega if params else 1 / fan_in
        params[weight] = _uniform((n, *spec.stored[weight]), bound, generator)
        params[bias] = _uniform((n, *spec.stored[bias]), 1 / sqrt(fan_in), generator)
    return params


def dws_start(spec: NetworkSpec, n: int, omega: float, generator: torch.Generator) -> Params:
    """The start of the SIRENs of Navon et al. (2023), which later papers read, too.

    The first layer starts as later ones do, hidden biases at 0, and the last layer as any of torch.
    First frequencies are lower than `siren_start`'s, so that more of the weights is signal.
    """
    params: Params = {}
    for weight, bias in zip(spec.weights, spec.vectors, strict=True):
        fan_in, last = spec.stored[weight][1], weight == spec.weights[-1]
        bound = 1 / sqrt(fan_in) if last else sqrt(6 / fan_in) / omega
        params[weight] = _uniform((n, *spec.stored[weight]), bound, generator)
        params[bias] = _uniform((n, *spec.stored[bias]), bound if last else 0.0, generator)
    return params


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator) - 1) * bound
