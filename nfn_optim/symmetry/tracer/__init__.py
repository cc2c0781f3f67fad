"""Reads the symmetry off a module: which populations of neurons its parameters run over.

torch.fx turns forward code into a graph, and rules follow populations from layer to layer. Tracing
needs no example inputs, so it knows no shapes: a value's neurons are found by counting axes from
the back. What is not understood pins the neurons it touches and leaves out its own parameters, so
the result describes less symmetry than there is rather than more.

Forward code runs once, on a twin of the module, so that nothing of the module changes. Hooks do not
run: an output that a hook changes is read as if it did not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ._parameters import Description as Description
from ._walk import Walk


@dataclass(frozen=True)
class Trace:
    """What was read off a module.

    Attributes:
        description: Parameters whose neurons are known; there may be none.
        reasons: Why each of the others is left out, by name.
        failures: Submodules whose forward could not be traced, and the error.
    """

    description: Description
    reasons: Mapping[str, str]
    failures: Mapping[str, str]


def trace(module: nn.Module) -> Trace:
    """Reads as much of a module as can be understood; what forward code raises, it reports."""
    walk = Walk(module)
    walk.whole(module)
    return Trace(walk.parameters.describe(), walk.parameters.reasons, walk.failures)


def describe_failure(module: nn.Module, trace: Trace) -> str:
    """Why nothing could be read off a module, and what to do."""
    kind = type(module).__name__
    remedy = "Describe it by hand with NetworkSpec({'name': (labels, ...)}, shapes)."
    for path, why in trace.failures.items():
        return f"forward of {path or kind!r} cannot be traced ({why}). {remedy}"
    for name, why in trace.reasons.items():
        return f"{kind} has no layer that can be read: {name!r} is left out because {why}. {remedy}"
    return f"{kind} has no parameters to describe. {remedy}"
