"""Test tools for anything that acts on weight spaces: specs to test on, and the laws to test.

Public, so that layers written elsewhere can be held to the same laws. All tools raise
AssertionError with the worst parameter and its error; randomness comes from a generator argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .symmetry import Heads, NetworkSpec, WeightSpaceFeatures, permute, random_permutations

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = [
    "assert_equivariant",
    "assert_invariant",
    "assert_sensitive",
    "chain_spec",
    "chain_specs",
    "equivariance_error",
    "invariance_error",
    "random_features",
    "renumbered",
]

EquivariantMap = Callable[[WeightSpaceFeatures], WeightSpaceFeatures]
InvariantMap = Callable[[WeightSpaceFeatures], Tensor]


def chain_spec(
    widths: Sequence[int],
    kernels: Sequence[Sequence[int]] | None = None,
    biases: Sequence[bool] | None = None,
) -> NetworkSpec:
    """The spec of a feed-forward network, by hand.

    Args:
        widths: Neurons or channels of every population, inputs first.
        kernels: Trailing axes of each weight whose order matters: kernel taps, or the positions of
            a Linear after Flatten. Empty for a plain Linear; None for an MLP.
        biases: Whether each layer has a bias; None if all have.

    Returns:
        A spec with parameters `0.weight`, `0.bias`, `1.weight`, ... and populations `in`, `h1`,
        ..., `out`.
    """
    depth = len(widths) - 1
    kernels = kernels or [()] * depth
    biases = biases or [True] * depth
    labels = ["in", *(f"h{i}" for i in range(1, depth)), "out"]
    axes: dict[str, tuple[str | None, ...]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        taps: tuple[None, ...] = (None,) * len(kernel)
        axes[f"{layer}.weight"] = (labels[layer + 1], labels[layer], *taps)
        shapes[f"{layer}.weight"] = (widths[layer + 1], widths[layer], *kernel)
        if bias:
            axes[f"{layer}.bias"] = (labels[layer + 1],)
            shapes[f"{layer}.bias"] = (widths[layer + 1],)
    return NetworkSpec(axes, shapes, io=("in", "out"))


def chain_specs(max_depth: int = 4) -> SearchStrategy[NetworkSpec]:
    """A hypothesis strategy for `chain_spec`: depth, widths, kernels and missing biases vary."""
    from hypothesis import strategies as st

    widths = st.integers(2, 4)
    kernel = st.sampled_from([(), (), (2,), (2, 1), (1, 2, 1)])

    def of_depth(depth: int) -> SearchStrategy[NetworkSpec]:
        return st.builds(
            chain_spec,
            st.tuples(*[widths] * (depth + 1)),
            st.tuples(*[kernel] * depth),
            st.tuples(*[st.booleans()] * depth),
        )

    return st.integers(1, max_depth).flatmap(of_depth)


def residual_spec() -> NetworkSpec:
    """A residual stream that a block reads and writes, with a gain: not a chain."""
    shapes = {"embed": (4, 3), "up": (5, 4), "up.bias": (5,), "down": (4, 5), "gain": (4,)}
    axes = {
        "embed": ("stream", "in"),
        "up": ("hidden", "stream"),
        "up.bias": ("hidden",),
        "down": ("stream", "hidden"),
        "gain": ("stream",),
        "head": ("out", "stream"),
    }
    return NetworkSpec(axes, {**shapes, "head": (2, 4)}, io=("in", "out"))


def attention_spec() -> NetworkSpec:
    """Attention of three heads on a table's rows, with queries and keys in one tensor."""
    axes = {
        "table": ("stream", "vocabulary"),
        "match": ("match", "stream", None),
        "match.bias": ("match", None),
        "content": ("content", "stream"),
        "back": ("stream", "content"),
    }
    shapes = {"table": (5, 7), "match": (6, 5, 2), "match.bias": (6, 2), "content": (12, 5)}
    return NetworkSpec(
        axes,
        {**shapes, "back": (5, 12)},
        io=("vocabulary",),
        stored={"table": (7, 5), "match": (12, 5), "match.bias": (12,)},
        orders={"table": (1, 0), "match": (1, 2, 0), "match.bias": (1, 0)},
        heads={"match": Heads(3, "heads"), "content": Heads(3, "heads")},
        maps={"match": 2, "match.bias": 1},
        tables=("table",),
    )


def recurrent_spec() -> NetworkSpec:
    """Hidden neurons that read themselves: one population on two axes, in four maps."""
    axes = {
        "in": ("hidden", "in", None),
        "self": ("hidden", "hidden", None),
        "out": ("out", "hidden"),
    }
    return NetworkSpec(
        {**axes, "bias": ("hidden", None)},
        {"in": (5, 3, 4), "self": (5, 5, 4), "out": (2, 5), "bias": (5, 4)},
        io=("in", "out"),
        maps={"in": 2, "self": 2, "bias": 1},
    )


def scattered_spec() -> NetworkSpec:
    """Labelled axes behind others, kernels between them, a table without labels, and a scalar."""
    axes = {
        "first": (None, "hidden", "in"),
        "shift": (None, "hidden"),
        "last": ("out", None, "hidden", None),
        "table": (None, None),
        "scale": (),
    }
    shapes = {"first": (2, 5, 3), "shift": (3, 5), "last": (4, 2, 5, 3), "table": (3, 2)}
    return NetworkSpec(axes, {**shapes, "scale": ()}, io=("in", "out"))


def random_features(
    spec: NetworkSpec,
    channels: int,
    generator: torch.Generator,
    *,
    batch: Sequence[int] = (2,),
    dtype: torch.dtype = torch.float64,
) -> WeightSpaceFeatures:
    """Standard normal features `(*batch, *axes, channels)`."""
    return WeightSpaceFeatures(
        spec,
        {
            name: torch.randn(*batch, *shape, channels, generator=generator, dtype=dtype)
            for name, shape in spec.shapes.items()
        },
    )


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
