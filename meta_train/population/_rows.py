"""Networks as rows of a matrix: all parameters of each, one after another."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from nfn_optim import NetworkSpec

from ..tasks import Params


def as_rows(spec: NetworkSpec, params: Params) -> Tensor:
    """Stacked parameters `(n, *stored)` by name as `(n, d)`."""
    return torch.cat([params[name].flatten(1) for name in spec.names], dim=1)


def as_params(spec: NetworkSpec, weights: Tensor) -> Params:
    """`(*batch, d)` as parameters `(*batch, *stored)` by name: views."""
    parts = weights.split([prod(spec.stored[name]) for name in spec.names], dim=-1)
    return {n: p.unflatten(-1, spec.stored[n]) for n, p in zip(spec.names, parts, strict=True)}
