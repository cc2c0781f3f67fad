"""Changes of an INR that keep its image, or move it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nfn_optim import WeightSpaceFeatures

from ..harness import Examples
from ._normal_form import normal_form


@dataclass(frozen=True)
class INRAugmentation:
    """Draws other INRs that show the same image, or nearly so.

    Attributes:
        flip: Whether hidden neurons change sign at random; sin(-x) = -sin(x), so this is exact.
        linear: Standard deviation of the entries of a linear map of the coordinates around the
            identity: it turns, stretches and shears the image.
        shift: Standard deviation of its shift; the image is 2 wide.
        mirror: Whether the last coordinate changes sign at random: left and right change places.
        omega: Frequency factor of INRs that are written in normal form after this; None for any.
    """

    flip: bool = True
    linear: float = 0.0
    shift: float = 0.0
    mirror: bool = False
    omega: float | None = None

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """Augments every example on its own; targets stay."""
        features = examples.features
        if self.flip:
            features = flip_signs(features, generator)
        if self.mirror:
            features = mirror(features, generator)
        if self.linear or self.shift:
            features = move(features, self.linear, self.shift, generator)
        if self.omega is not None:
            features = normal_form(features, self.omega)
        return Examples(features, examples.targets)


def flip_signs(
    features: WeightSpaceFeatures, generator: torch.Generator, which: Tensor | None = None
) -> WeightSpaceFeatures:
    """Changes the sign of hidden neurons, of what they read and of how they are read.

    Args:
        features: Networks `(n, *axes, c)`.
        generator: Draws a sign for each network and hidden neuron.
        which: The networks `(n,)` whose activation is odd, the only ones that change; None is all.
    """
    spec = features.spec.hnp()
    some = next(iter(features.values()))
    signs = {
        label: _draw((len(some), spec.sizes[label]), some, generator).sign()
        for label in spec.populations
    }
    if which is not None:
        signs = {label: sign.where(which[:, None], 1.0) for label, sign in signs.items()}
    tensors = []
    for name, tensor in features.items():
        for axis, label in enumerate(spec.labels(name), start=1):
            if label is not None:
                shape = [1] * tensor.dim()
                shape[0], shape[axis] = signs[label].shape
                tensor = tensor * signs[label].reshape(shape)
        tensors.append(tensor)
    return features.like(tensors)


def mirror(features: WeightSpaceFeatures, generator: torch.Generator) -> WeightSpaceFeatures:
    """Mirrors what half of the INRs show: `f(x, y)` becomes `f(x, -y)`.

    Args:
        features: INRs `(n, *axes, 1)`; the first weight reads the coordinates.
        generator: Draws which are mirrored.
    """
    weight = features.spec.weights[0]
    first = features[weight]  # (n, h, d, 1)
    signs = torch.ones(len(first), 1, first.shape[2], 1)
    signs[:, :, -1] = torch.randn(len(first), 1, 1, generator=generator).sign()
    tensors = {**features, weight: first * signs.to(first)}
    return features.like([tensors[name] for name in features.spec.names])


def move(
    features: WeightSpaceFeatures, linear: float, shift: float, generator: torch.Generator
) -> WeightSpaceFeatures:
    """Moves what INRs show: `f(x)` becomes `f(A x + t)`, which is `W A` and `b + W t` inside.

    Args:
        features: INRs `(n, *axes, 1)`; the first weight `W` reads the coordinates.
        linear: Standard deviation of `A - 1`.
        shift: Standard deviation of `t`.
        generator: Draws `A` and `t` for every INR.
    """
    spec = features.spec
    weight = spec.weights[0]
    bias = next(name for name in spec.vectors if spec.axes[name] == spec.axes[weight][:1])
    first = features[weight][..., 0]  # (n, h, d)
    n, _, d = first.shape
    mapped = first + first @ (linear * _draw((n, d, d), first, generator))
    shifted = features[bias] + first @ (shift * _draw((n, d, 1), first, generator))
    tensors = {**features, weight: mapped.unsqueeze(-1), bias: shifted}
    return features.like([tensors[name] for name in spec.names])


def _draw(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator).to(like)
