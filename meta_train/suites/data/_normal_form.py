"""A normal form of SIRENs: one for all that show the same image, up to the order of neurons."""

from __future__ import annotations

from itertools import pairwise
from math import pi

import torch
from torch import Tensor

from nfn_optim import WeightSpaceFeatures


def normal_form(features: WeightSpaceFeatures, omega: float) -> WeightSpaceFeatures:
    """Rewrites SIRENs without a change of what they show: `sin(x + k pi) = (-1)^k sin(x)`.

    Phases come within a quarter turn of 0. What is left, `sin(-x) = -sin(x)`, is settled so that
    first neurons read the first coordinate, and later ones are read, with positive weights.

    Args:
        features: SIRENs `(n, *axes, 1)`.
        omega: Their frequency factor.
    """
    spec = features.spec
    layers = list(zip(spec.weights, spec.vectors, strict=True))
    tensors = {name: tensor.squeeze(-1) for name, tensor in features.items()}
    for depth, ((weight, bias), (after, _)) in enumerate(pairwise(layers)):
        turns = (omega / pi * tensors[bias]).round()  # (n, h), half turns
        tensors[bias] = tensors[bias] - turns * pi / omega
        tensors[after] = tensors[after] * (1 - 2 * turns.remainder(2)).unsqueeze(1)
        sign = _sign(tensors[after].sum(1) if depth else tensors[weight][..., 0])
        tensors[weight] = tensors[weight] * sign.unsqueeze(-1)
        tensors[bias] = tensors[bias] * sign
        tensors[after] = tensors[after] * sign.unsqueeze(1)
    return features.like([tensors[name].unsqueeze(-1) for name in spec.names])


def _sign(x: Tensor) -> Tensor:
    """1 or -1, never 0."""
    return torch.where(x < 0, -1.0, 1.0).to(x)
