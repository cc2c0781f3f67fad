"""Specs to test on, and features of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..symmetry import Heads, NetworkSpec, WeightSpaceFeatures

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


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
    generator: torch.Generator | None = None,
    *,
    batch: Sequence[int] = (2,),
    dtype: torch.dtype = torch.float32,
) -> WeightSpaceFeatures:
    """Standard normal features `(*batch, *axes, channels)`.

    Args:
        spec: Of the networks.
        channels: Numbers for every entry of a parameter.
        generator: Draws them; without, one that starts from seed 0.
        batch: Axes in front; `(2,)` is two networks.
        dtype: Of the tensors. float64 tells a small mistake from rounding.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return WeightSpaceFeatures(
        spec,
        {
            name: torch.randn(*batch, *shape, channels, generator=generator, dtype=dtype)
            for name, shape in spec.shapes.items()
        },
    )
