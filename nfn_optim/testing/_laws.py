"""The laws: equivariance, invariance, and no more symmetry than that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import isnan

import torch
from torch import Tensor

from ..symmetry import NetworkSpec, WeightSpaceFeatures, permute, random_permutations

EquivariantMap = Callable[[WeightSpaceFeatures], WeightSpaceFeatures]
InvariantMap = Callable[[WeightSpaceFeatures], Tensor]


def renumbered(
    feats: WeightSpaceFeatures, generator: torch.Generator | None = None
) -> WeightSpaceFeatures:
    """The same networks, with the neurons of every hidden population renumbered at random.

    Args:
        feats: Features `(*batch, *axes, c)`.
        generator: Draws the permutations; without, one that starts from seed 0.
    """
    return permute(feats, random_permutations(feats.spec.hnp(), _or_new(generator)))


@torch.no_grad()
def equivariance_error(
    fn: EquivariantMap,
    feats: WeightSpaceFeatures,
    permutations: Mapping[str, Tensor] | None = None,
) -> dict[str, float]:
    """Largest difference between permuting first and permuting last, for each parameter.

    Relative to the largest entry of the result.

    Args:
        fn: The map from features to features.
        feats: An input, `(*batch, *axes, c)`.
        permutations: Where each entry of a population comes from, by the population's name;
            without, the worst of three draws for what `feats.spec` permutes, from seed 0.
    """
    if permutations is None:
        drawn = [equivariance_error(fn, feats, each) for each in _draws(feats.spec)]
        return {name: _worst(errors[name] for errors in drawn) for name in drawn[0]}
    first, last = _features(fn(permute(feats, permutations))), permute(fn(feats), permutations)
    return {name: _error(first[name], last[name]) for name in last}


@torch.no_grad()
def invariance_error(
    fn: InvariantMap,
    feats: WeightSpaceFeatures,
    permutations: Mapping[str, Tensor] | None = None,
) -> float:
    """Largest change of the result when the input is permuted, relative to its largest entry.

    The arguments are those of `equivariance_error`; `fn` returns a tensor.
    """
    if permutations is None:
        return _worst(invariance_error(fn, feats, each) for each in _draws(feats.spec))
    return _error(_tensor(fn(permute(feats, permutations))), fn(feats))


def assert_equivariant(
    fn: EquivariantMap,
    spec: NetworkSpec,
    feats: WeightSpaceFeatures,
    generator: torch.Generator | None = None,
    *,
    tolerance: float | None = None,
    trials: int = 3,
) -> None:
    """Checks that `fn` commutes with random permutations of the spec's group.

    A module with dropout draws anew in every call: put it into `eval()` before.

    Args:
        fn: The map from features to features.
        spec: Whose group is meant: `spec.np()` or `spec.hnp()`.
        feats: An input, `(*batch, *axes, c)`.
        generator: Draws the permutations; without, one that starts from seed 0.
        tolerance: Largest relative error allowed; without, what rounding makes in the features'
            type: 4e-11 in float64, 2e-5 in float32, 4e-2 in bfloat16.
        trials: Number of random permutations.

    Raises:
        AssertionError: Naming the worst parameter.

    Example:
        >>> from nfn_optim.layers import NPLinear
        >>> from nfn_optim.testing import chain_spec, random_features
        >>> spec = chain_spec([3, 8, 2])
        >>> assert_equivariant(NPLinear(spec, 1, 4), spec.np(), random_features(spec, 1))
    """
    __tracebackhide__ = True
    limit = _tolerance(feats) if tolerance is None else tolerance
    for permutations in _draws(spec, generator, trials):
        errors = equivariance_error(fn, feats, permutations)
        worst = max(errors, key=lambda name: errors[name])
        if not errors[worst] <= limit:
            raise AssertionError(
                f"not equivariant: permuting the input is off by {errors[worst]:.2e} at {worst!r} "
                f"(tolerance {limit:.0e})"
            )


def assert_invariant(
    fn: InvariantMap,
    spec: NetworkSpec,
    feats: WeightSpaceFeatures,
    generator: torch.Generator | None = None,
    *,
    tolerance: float | None = None,
    trials: int = 3,
) -> None:
    """Checks that `fn` ignores random permutations of the spec's group.

    The arguments are those of `assert_equivariant`; `fn` returns a tensor.

    Raises:
        AssertionError: With the largest change.
    """
    __tracebackhide__ = True
    limit = _tolerance(feats) if tolerance is None else tolerance
    for permutations in _draws(spec, generator, trials):
        error = invariance_error(fn, feats, permutations)
        if not error <= limit:
            raise AssertionError(
                f"not invariant: permuting the input changes the result by {error:.2e} "
                f"(tolerance {limit:.0e})"
            )


@torch.no_grad()
def assert_sensitive(
    fn: EquivariantMap,
    spec: NetworkSpec,
    feats: WeightSpaceFeatures,
    *,
    threshold: float | None = None,
) -> None:
    """Checks that `fn` has no more symmetry than the spec's group.

    Each axis of each parameter is reversed on its own, in input and output. Unless that alone is an
    element of the group, a layer that commutes with it is too symmetric.

    Args:
        fn: The map from features to features.
        spec: Whose group is meant: `spec.np()` or `spec.hnp()`.
        feats: An input, `(*batch, *axes, c)`.
        threshold: Relative errors below it count as rounding; without, the tolerance of
            `assert_equivariant`.

    Raises:
        AssertionError: Naming the parameter and axis.
    """
    __tracebackhide__ = True
    limit = _tolerance(feats) if threshold is None else threshold
    for name, axis in _lone_axes(spec):
        first = _features(fn(_reverse(feats, name, axis)))
        last = _reverse(fn(feats), name, axis)
        if max(_error(first[other], last[other]) for other in last) < limit:
            raise AssertionError(
                f"too symmetric: commutes with renumbering axis {axis} of {name!r} alone"
            )


def _or_new(generator: torch.Generator | None) -> torch.Generator:
    return torch.Generator().manual_seed(0) if generator is None else generator


def _worst(errors: Iterable[float]) -> float:
    """The largest, above which is NaN."""
    return max(errors, key=lambda error: (isnan(error), error))


def _draws(
    spec: NetworkSpec, generator: torch.Generator | None = None, trials: int = 3
) -> Iterator[dict[str, Tensor]]:
    generator = _or_new(generator)
    return (random_permutations(spec, generator) for _ in range(trials))


def _tolerance(feats: WeightSpaceFeatures) -> float:
    """Far above what sums in another order differ by, far below what a wrong layer does."""
    return max(float(torch.finfo(tensor.dtype).eps) ** (2 / 3) for tensor in feats.values())


def _features(result: WeightSpaceFeatures) -> WeightSpaceFeatures:
    if not isinstance(result, WeightSpaceFeatures):
        raise AssertionError(
            f"not equivariant: the result is a {type(result).__name__}, not WeightSpaceFeatures. "
            "Check a map to a tensor by assert_invariant."
        )
    return result


def _tensor(result: Tensor) -> Tensor:
    if not isinstance(result, Tensor):
        raise AssertionError(
            f"not invariant: the result is a {type(result).__name__}, not a tensor. Check a map to "
            "features by assert_equivariant."
        )
    return result


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
