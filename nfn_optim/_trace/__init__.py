"""Reads the spec off a module: which populations of neurons its parameters run over.

torch.fx turns forward code into a graph, and rules follow populations from layer to layer. Tracing
needs no example inputs, so it knows no shapes: a value's neurons are found by counting axes from
the back. What is not understood pins the neurons it touches and leaves out its own parameters, so
the result describes less symmetry than there is rather than more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from .._spec import NetworkSpec, SpecError
from ._walk import Walk


@dataclass(frozen=True)
class Reading:
    """What was read off a module.

    Attributes:
        spec: Parameters whose neurons are known; None where there are none.
        reasons: Why each of the others is left out, by name.
        failures: Submodules whose forward could not be traced, and the error.
    """

    spec: NetworkSpec | None
    reasons: Mapping[str, str]
    failures: Mapping[str, str]


def read_module(module: nn.Module) -> Reading:
    """Reads as much as can be understood; never fails."""
    walk = Walk(module)
    walk.whole(module)
    return Reading(walk.parameters.to_spec(), walk.parameters.reasons, walk.failures)


def trace(module: nn.Module) -> NetworkSpec:
    """The spec of all parameters whose neurons are known.

    Raises:
        SpecError: If there are none.
    """
    reading = read_module(module)
    if reading.spec is None:
        raise SpecError(describe_failure(module, reading))
    return reading.spec


def describe_failure(module: nn.Module, reading: Reading) -> str:
    """Why nothing could be read off a module, and what to do."""
    kind = type(module).__name__
    remedy = "Describe it by hand with NetworkSpec({'name': (labels, ...)}, shapes)."
    for path, why in reading.failures.items():
        return f"forward of {path or kind!r} cannot be traced ({why}). {remedy}"
    for name, why in reading.reasons.items():
        return f"{kind} has no layer that can be read: {name!r} is left out because {why}. {remedy}"
    return f"{kind} has no Linear or convolution to describe. {remedy}"
