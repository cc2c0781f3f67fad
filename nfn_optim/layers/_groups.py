"""Which parameters of a network an invariant pooling without a spec sums up together."""

from __future__ import annotations

from collections.abc import Callable

from ..symmetry import NetworkSpec


def reads_inputs(spec: NetworkSpec, name: str) -> bool:
    """Whether a parameter has an axis of the network's inputs."""
    return any(label in spec.io for label in spec.axes[name][1:])


def writes_outputs(spec: NetworkSpec, name: str) -> bool:
    """Whether a parameter ends in the network's outputs."""
    return any(label in spec.io for label in spec.axes[name][:1])


GROUPS: tuple[Callable[[NetworkSpec, str], bool], ...] = (
    lambda spec, name: len(spec.axes[name]) > 1,
    lambda spec, name: len(spec.axes[name]) <= 1,
    reads_inputs,
    writes_outputs,
)
