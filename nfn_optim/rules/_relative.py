"""How large a parameter's steps are beside the rule's step size, by what is there at the start.

Weights are started at a size that suits their layer, and steps that are a fixed share of it suit
the layer too: they shrink like one over the root of the fan-in where a layer is started by it, they
are small in a SIREN, and a trained network is not shaken apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from ..symmetry import NetworkSpec
from .constants import HEAD_SHARE, LARGEST_RATIO, TYPICAL_FAN


def default_size(fan_in: float) -> float:
    """Root mean square of weights as `nn.Linear` and convolutions start them."""
    return 1 / math.sqrt(3 * fan_in)


def sizes_of(spec: NetworkSpec) -> Mapping[str, tuple[float, float]]:
    """Of each parameter `default_size`, and the size of weights that step by the step size.

    The second is that of a layer of `TYPICAL_FAN` inputs, and larger in heads, which write the
    network's outputs: they step by less. Both are 0 for vectors and tables, which always step by
    the step size.
    """
    return _sizes(spec) if torch.compiler.is_compiling() else _remembered(spec)


def log_share(start: Tensor, default: Tensor, unit: Tensor, exponent: float) -> Tensor:
    """Log of a parameter's step size over the rule's, `(*batch, parameters)`.

    Args:
        start: Root mean square of each parameter before the first step `(*batch, parameters)`.
            Weights that start at zero count as started by default, and others as at most
            `LARGEST_RATIO` times larger or smaller than that.
        default: The first of `sizes_of` `(parameters)`.
        unit: The second, likewise.
        exponent: With which steps follow the size at the start.
    """
    tiny = torch.finfo(default.dtype).tiny
    ratio = (start / default.clamp(min=tiny)).clamp(1 / LARGEST_RATIO, LARGEST_RATIO)
    size = torch.where(start > 0, ratio, torch.ones_like(ratio)) * default
    share = exponent * (size.clamp(min=tiny) / unit.clamp(min=tiny)).log()
    return torch.where(default > 0, share, torch.zeros_like(share))


def fan_in_of(spec: NetworkSpec, name: str) -> int:
    """Inputs of a neuron, times kernel taps; of a parameter that is several maps, those of one."""
    skipped, shape = (0, spec.maps.get(name)), spec.shapes[name]
    return math.prod([size for axis, size in enumerate(shape) if axis not in skipped])


def _sizes(spec: NetworkSpec) -> dict[str, tuple[float, float]]:
    typical, heads = default_size(TYPICAL_FAN), _heads(spec)
    sizes = {}
    for name in spec.names:
        if name in spec.tables or spec.matrices(name) is None:
            sizes[name] = (0.0, 0.0)
        else:
            unit = typical / HEAD_SHARE if name in heads else typical
            sizes[name] = (default_size(fan_in_of(spec, name)), unit)
    return sizes


def _heads(spec: NetworkSpec) -> set[str]:
    """Parameters whose outputs are the network's and nobody's inputs."""
    read = {label for name in spec.weights for label in spec.axes[name][1:]}
    return {name for name in spec.weights if spec.axes[name][0] in spec.io - read}


_remembered = lru_cache(maxsize=256)(_sizes)
