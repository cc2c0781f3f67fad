"""How large a parameter's steps are beside the rule's step size, by what is there at the start.

Weights are started at a size that suits their layer, and steps that are a fixed share of it suit
the layer too: they shrink like one over the root of the fan-in where a layer is started by it, they
are small in a SIREN, and a trained network is not shaken apart.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

import torch
from torch import Tensor

from ..symmetry import NetworkSpec
from .constants import LARGEST_RATIO, TYPICAL_FAN


def default_size(fan_in: float) -> float:
    """Root mean square of weights as `nn.Linear` and convolutions start them."""
    return 1 / math.sqrt(3 * fan_in)


def default_sizes(spec: NetworkSpec, names: Sequence[str], matrices: Container[str]) -> list[float]:
    """`default_size` of each matrix; 0 for the other parameters, whose steps are as they are."""
    return [default_size(fan_in_of(spec, name)) if name in matrices else 0.0 for name in names]


def log_share(start: Tensor, default: Tensor, exponent: float) -> Tensor:
    """Log of a parameter's step size over the rule's, `(*batch, parameters)`.

    Args:
        start: Root mean square of each parameter before the first step `(*batch, parameters)`.
            Weights that start at zero count as started by default, and others as at most
            `LARGEST_RATIO` times larger or smaller than that.
        default: What `default_sizes` returns `(parameters)`.
        exponent: With which steps follow these sizes, beside those of a layer of `TYPICAL_FAN`
            inputs.
    """
    known = default.clamp(min=torch.finfo(default.dtype).tiny)
    ratio = (start / known).clamp(1 / LARGEST_RATIO, LARGEST_RATIO)
    size = torch.where(start > 0, ratio, torch.ones_like(ratio)) * known
    share = exponent * (size / default_size(TYPICAL_FAN)).log()
    return torch.where(default > 0, share, torch.zeros_like(share))


def fan_in_of(spec: NetworkSpec, name: str) -> int:
    """Inputs of a neuron, times kernel taps; of a parameter that is several maps, those of one."""
    skipped, shape = (0, spec.maps.get(name)), spec.shapes[name]
    return math.prod([size for axis, size in enumerate(shape) if axis not in skipped])
