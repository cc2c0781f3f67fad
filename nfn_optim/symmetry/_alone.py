"""Parameters whose place in the network is not known: each has neurons of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ._spec import NetworkSpec
from ._storage import Labels, Shape


def with_alone(spec: NetworkSpec, shapes: Mapping[str, Shape]) -> NetworkSpec:
    """The spec, and further parameters whose neurons no other parameter shares.

    A matrix has outputs and inputs of its own, and further axes are taps. Nothing is claimed of
    them that may not hold: all are pinned.

    Args:
        spec: What is known.
        shapes: Of the further parameters, as they are stored.
    """
    axes = {name: _labels(name, len(shape)) for name, shape in shapes.items()}
    neurons = {label for labels in axes.values() for label in labels if label is not None}
    return replace(
        spec,
        axes={**spec.axes, **axes},
        shapes={**spec.shapes, **shapes},
        stored={**spec.stored, **shapes},
        pinned=spec.pinned | neurons,
    )


def _labels(name: str, num_axes: int) -> Labels:
    named = tuple(f"{name} {role}" for role in ("outputs", "inputs")[:num_axes])
    return named + (None,) * (num_axes - len(named))
