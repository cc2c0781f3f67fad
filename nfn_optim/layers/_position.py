"""Position encodings: with them an NP layer can treat each input, output and layer differently."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn

from ..symmetry import NetworkSpec, WeightSpaceFeatures
from ._check import check_features


def _ordered_axes(spec: NetworkSpec, name: str) -> list[tuple[int, str]]:
    """Axes of a parameter that run over neurons whose order matters."""
    ordered = spec.hnp().fixed
    return [(axis, label) for axis, label in enumerate(spec.axes[name]) if label in ordered]


def _along(table: Tensor, axis: int, dims: int) -> Tensor:
    """A table `(n, c)` as a tensor of `dims` axes and channels that varies along one axis."""
    return table.reshape(*(table.shape[0] if i == axis else 1 for i in range(dims)), -1)


class LearnedPosEmbedding(nn.Module):
    """Adds one learned vector per parameter, per input and per output (NFT, arXiv 2305.13546).

    All parameters that carry an output share that output's vector, as the last weight and bias do.
    Equivariant under the HNP group only.

    Args:
        spec: The network's symmetry; the populations that `spec.hnp()` holds fixed get positions.
        channels: Channels of the features.

    Shape:
        Features `(*batch, *axes, channels)` to the same.
    """

    def __init__(self, spec: NetworkSpec, channels: int) -> None:
        super().__init__()
        self.spec, self.channels = spec, channels
        self.parameters_embedding = nn.Parameter(torch.randn(len(spec.names), channels))
        self._positions = [label for label in spec.sizes if label in spec.hnp().fixed]
        self.position_embeddings = nn.ParameterList(
            torch.randn(spec.sizes[label], channels) for label in self._positions
        )

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Adds the embeddings."""
        check_features(self, feats, self.spec, self.channels)
        tables = dict(zip(self._positions, self.position_embeddings, strict=True))
        results = []
        for index, (name, tensor) in enumerate(feats.items()):
            code = self.parameters_embedding[index]
            for axis, label in _ordered_axes(self.spec, name):
                code = code + _along(tables[label], axis, len(self.spec.shapes[name]))
            results.append(tensor + code)
        return feats.like(results)

    def __repr__(self) -> str:
        return f"LearnedPosEmbedding({self.channels}, populations={self._positions})"


class IOSinusoidalEncoding(nn.Module):
    """Concatenates a sinusoidal code of the input and output index, and of the layer (NFN 2.2).

    With it an `NPLinear` can treat every input and output differently, at a number of weights that
    does not grow with their number. Equivariant under the HNP group only.

    Args:
        spec: The network's symmetry; the populations that `spec.hnp()` holds fixed get positions.
        max_freq: Highest frequency, in half cycles.
        num_bands: Number of frequencies.
        encode_layers: Whether to add a code of the layer: parameters with one output population
            are one layer.

    Shape:
        Features `(*batch, *axes, c)` to `(*batch, *axes, out_channels(c))`.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        max_freq: float = 10.0,
        num_bands: int = 6,
        *,
        encode_layers: bool = True,
    ) -> None:
        super().__init__()
        self.spec, self.max_freq, self.num_bands = spec, max_freq, num_bands
        self._ordered = sorted(spec.hnp().fixed & spec.sizes.keys())
        outputs = [spec.axes[name][:1] for name in spec.names]
        order = list(dict.fromkeys(outputs))
        self._layers = [order.index(output) for output in outputs] if encode_layers else []

    def out_channels(self, channels: int) -> int:
        """Channels of the result for features with so many channels."""
        return channels + 2 * self.num_bands + 1

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Appends the code's channels."""
        check_features(self, feats, self.spec)
        like = next(iter(feats.values()))
        tables = {label: self._code(self.spec.sizes[label], like) for label in self._ordered}
        layers = self._code(max(self._layers, default=0) + 1, like)
        results = []
        for index, (name, tensor) in enumerate(feats.items()):
            shape = self.spec.shapes[name]
            code = layers[self._layers[index]] if self._layers else torch.zeros_like(layers[0])
            for axis, label in _ordered_axes(self.spec, name):
                code = code + _along(tables[label], axis, len(shape))
            code = code.expand(*tensor.shape[:-1], -1)
            results.append(torch.cat([tensor, code], dim=-1))
        return feats.like(results)

    def _code(self, size: int, like: Tensor) -> Tensor:
        """Sines, cosines and the position itself, `(size, 2 * num_bands + 1)`."""
        position = torch.linspace(-1, 1, size, dtype=torch.float64).to(like)[:, None]
        bands = (
            torch.linspace(1, self.max_freq / 2, self.num_bands, dtype=torch.float64).to(like) * pi
        )
        angle = position * bands
        return torch.cat([angle.sin(), angle.cos(), position], dim=-1)

    def __repr__(self) -> str:
        layers = bool(self._layers)
        return f"IOSinusoidalEncoding({self.max_freq}, {self.num_bands}, encode_layers={layers})"


class GaussianFourierFeatures(nn.Module):
    """Random Fourier features of the channels: sines and cosines at Gaussian frequencies.

    Used by the paper's INR experiments on raw weights. The frequencies are fixed, and saved.

    Args:
        spec: The network's symmetry.
        in_channels: Channels of the input features.
        num_frequencies: Number of frequencies; the result has twice as many channels.
        scale: Standard deviation of the frequencies, in cycles.
        generator: Draws the frequencies.

    Shape:
        Features `(*batch, *axes, in_channels)` to `(*batch, *axes, 2 * num_frequencies)`.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        in_channels: int,
        num_frequencies: int = 128,
        scale: float = 10.0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.in_channels, self.out_channels = spec, in_channels, 2 * num_frequencies
        frequencies = torch.randn(in_channels, num_frequencies, generator=generator) * scale
        self.frequencies: Tensor
        self.register_buffer("frequencies", frequencies)

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Maps every entry's channels."""
        check_features(self, feats, self.spec, self.in_channels)
        return feats.like([self._features(t) for t in feats.values()])

    def _features(self, tensor: Tensor) -> Tensor:
        angle = 2 * pi * (tensor @ self.frequencies)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def __repr__(self) -> str:
        return f"GaussianFourierFeatures({self.in_channels}, {self.out_channels // 2})"
