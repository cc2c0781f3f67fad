"""The laws: equivariance, invariance, and no more symmetry than that."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..symmetry import NetworkSpec, WeightSpaceFeatures, permute, random_permutations

EquivariantMap = Callable[[WeightSpaceFeatures], WeightSpaceFeatures]
InvariantMap = Callable[[WeightSpaceFeatures], Tensor]


def renumbered(feats: WeightSpaceFeatures, generator: torch.Generator) -> WeightSpaceFeatures:
    """The same networks, with the neurons of every hidden population renumbered at random."""
    return permute(feats, random_permutations(feats.spec.hnp(), generator))


@torch.no_grad()
def equivariance_error(
    fn: EquivariantMap, feats: WeightSpaceFeatures, permutations: Mapping[str, Tensor]
) -> dict[str, float]:
    """Largest difference between permuting first and permuting last, for each parameter.

    Relative to the largest entry of the result.
    """
    first, last = fn(permute(feats, permutations)), permute(fn(feats), permutations)
    return {name: _error(first[name], last[name]) for name in last}


@torch.no_grad()
def invariance_error(
    fn: InvariantMap, feats: WeightSpaceFeatures, permutations: Mapping[str, Tensor]
) -> float:
    """Largest change of the result when the input is permuted, relative to its largest entry."""
    return _error(fn(permute(feats, permutations)), fn(feats))


def assert_equivariant(
    fn: EquivariantMap,
    spec: NetworkSpec,
    feats: WeightSpaceFeatures,
    generator: torch.Generator,
    *,
    tolerance: float = 1e-10,
    trials: int = 3,
) -> None:
    """Checks that `fn` commutes with random permutations of the spec's group.

    Args:
        fn: The map from features to features.
        spec: Whose group is meant: `spec.np()` or `spec.hnp()`.
        feats: An input.
        generator: Draws the permutations.
        tolerance: Largest relative error allowed; 1e-10 suits float64.
        trials: Number of random permutations.

    Raises:
        AssertionError: Naming the worst parameter.
    """
    __tracebackhide__ = True
    for _ in range(trials):
        errors = equivariance_error(fn, feats, random_permutations(spec, generator))
        worst = max(errors, key=lambda name: errors[name])
        if not errors[worst] <= tolerance:
            raise AssertionError(
                f"not equivariant: permuting the input is off by {errors[worst]:.2e} at {worst!r} "
                f"(tolerance {tolerance:.0e})"
            )


def assert_invariant(
    fn: InvariantMap,
    spec: NetworkSpec,
    feats: WeightSpaceFeatures,
    generator: torch.Generator,
    *,
    tolerance: float = 1e-10,
    trials: int = 3,
) -> None:
    """Checks that `fn` ignores random permutations of the spec's group; see `assert_equivariant`.

    Raises:
        AssertionError: With the largest change.
    """
    __tracebackhide__ = True
    for _ in range(trials):
        error = invariance_error(fn, feats, random_permutations(spec, generator))
        if not error <= tolerance:
            raise AssertionError(
                f"not invariant: permuting the input changes the result by {error:.2e} "
                f"(tolerance {tolerance:.0e})"
            )


@torch.no_grad()
def assert_sensitive(
    fn: EquivariantMap, spec: NetworkSpec, feats: WeightSpaceFeatures, *, threshold: float = 1e-6
) -> None:
    """Checks that `fn` has no more symmetry than the spec's group.

    Each axis of each parameter is reversed on its own, in input and output. Unless that alone is an
    element of the group, a layer that commutes with it is too symmetric.

    Raises:
        AssertionError: Naming the parameter and axis.
    """
    __tracebackhide__ = True
    for name, axis in _lone_axes(spec):
        first, last = fn(_reverse(feats, name, axis)), _reverse(fn(feats), name, axis)
        if max(_error(first[other], last[other]) for other in last) < threshold:
            raise AssertionError(
                f"too symmetric: commutes with renumbering axis {axis} of {name!r} alone"
            )


def _lone_axes(spec: NetworkSpec) -> list[tuple[str, int]]:
    """Axes that the group does not renumber by themselves."""
    carriers: dict[str | None, int] = {}
    for name in spec.names:
        for label in spec.labels(name):
            carriers[label] = carriers.get(label, 0) + 1
    return [
        (name, axis)
        for name in spec.names
        for axis, label in enumerate(spec.labels(name))
        if spec.shapes[name][axis] > 1 and (label is None or carriers[label] > 1)
    ]


def _reverse(feats: WeightSpaceFeatures, name: str, axis: int) -> WeightSpaceFeatures:
    dim = len(feats.batch_shape) + axis
    return WeightSpaceFeatures(feats.spec, {**feats, name: feats[name].flip(dim)})


def _error(got: Tensor, expected: Tensor) -> float:
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((got - expected).abs().max() / scale)
