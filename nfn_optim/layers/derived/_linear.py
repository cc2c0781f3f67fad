"""The linear NF-Layers, derived from the spec's labels: complete and minimal for its group."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...symmetry import NetworkSpec, SpecError, WeightSpaceFeatures
from .._check import check_features, check_one_axis_each
from ._gather import Mixer
from ._init import Block, Init, keep_variance
from ._mix import mix
from ._plan import make_plan

MAX_WEIGHTS = 100_000_000
"""Number of weights above which a layer must be asked for explicitly."""


class DerivedLinear(nn.Module):
    """All linear maps between weight-space features that commute with the spec's group.

    For each output parameter and each subset S of its labels: every parameter that carries all
    labels in S is averaged over its other labels, mapped by a matrix on channels (fixed axes are
    folded into channels), broadcast, and summed over S. Weights are held per S, for all sources
    and targets together; their number per pair of channels is the dimension of the space of
    equivariant maps. `NPLinear` and `HNPLinear` are this layer under the paper's two groups.

    Args:
        spec: The network's symmetry under the group at hand.
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        init: Fills the weights; `keep_variance` or the paper's `fan_in_uniform`.
        max_weights: Raise instead of allocating more weights than this.

    Shape:
        Features `(*batch, *axes, in_channels)` to `(*batch, *axes, out_channels)`.

    Raises:
        SpecError: If the layer would hold more than `max_weights` weights, or a parameter runs over
            one population twice.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        in_channels: int,
        out_channels: int,
        *,
        init: Init = keep_variance,
        max_weights: int = MAX_WEIGHTS,
    ) -> None:
        super().__init__()
        check_one_axis_each(self, spec)
        self.spec, self.in_channels, self.out_channels = spec, in_channels, out_channels
        self._mixer = Mixer(make_plan(spec), in_channels, out_channels)
        self._refuse_absurd_size(max_weights)
        levels = self._mixer.plan.levels
        self.weights = nn.ParameterList(
            torch.empty(level.width * in_channels, level.width * out_channels) for level in levels
        )
        self.bias = nn.Parameter(torch.empty(levels[-1].width * out_channels))
        self.reset_parameters(init)

    @property
    def num_weights(self) -> int:
        """Number of weights, without the additive bias."""
        return self._mixer.plan.num_weights() * self.in_channels * self.out_channels

    def reset_parameters(self, init: Init = keep_variance) -> None:
        """Draws all weights anew."""
        blocks = list(self.blocks())
        for name in self.spec.names:
            init([block for block in blocks if block.target == name], self.bias_of(name))

    def blocks(self) -> Iterator[Block]:
        """All maps of the layer, as views of its weights."""
        plan = self._mixer.plan
        for level, weight in zip(plan.levels, self.weights, strict=True):
            for source, count in zip(level.members, level.counts, strict=True):
                rows = weight.detach()[_scaled(level.columns(source), self.in_channels)]
                for target in level.members:
                    columns = _scaled(level.columns(target), self.out_channels)
                    names = plan.folds[target].name, plan.folds[source].name
                    yield Block(*names, level.kept, count > 1, rows[:, columns])

    def bias_of(self, name: str) -> Tensor:
        """View of one parameter's additive bias, `(fixed entries * out_channels,)`."""
        last = self._mixer.plan.levels[-1]
        columns = last.columns(self.spec.names.index(name))
        return self.bias.detach()[_scaled(columns, self.out_channels)]

    def forward(self, feats: WeightSpaceFeatures) -> WeightSpaceFeatures:
        """Maps features of the spec's network."""
        check_features(self, feats, self.spec, self.in_channels)
        tensors = mix(self._mixer, tuple(feats.values()), tuple(self.weights), self.bias)
        return feats.like(tensors)

    def __repr__(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, num_weights={self.num_weights:,}"
        return f"{type(self).__name__}({sizes})"

    def _refuse_absurd_size(self, max_weights: int) -> None:
        if self.num_weights > max_weights:
            fixed = sum(size for label, size in self.spec.sizes.items() if label in self.spec.fixed)
            raise SpecError(
                f"{type(self).__name__}({self.in_channels}, {self.out_channels}) would hold "
                f"{self.num_weights:,} weights ({self.num_weights * 4 / 1e9:.1f} GB in float32): "
                f"each of {fixed} fixed inputs and outputs gets weights of its own. Use "
                "LowRankHNPLinear, or IOSinusoidalEncoding followed by NPLinear; to allocate it "
                f"all the same, pass max_weights={self.num_weights}."
            )


class NPLinear(DerivedLinear):
    """The NP NF-Layer (NFN Eq. 2 and 3): every population is permuted, inputs and outputs too.

    Args:
        spec: The network's symmetry; `spec.np()` is what counts.
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        init: Fills the weights; `keep_variance` or the paper's `fan_in_uniform`.
        max_weights: Raise instead of allocating more weights than this.

    Shape:
        Features `(*batch, *axes, in_channels)` to `(*batch, *axes, out_channels)`.

    Raises:
        SpecError: If the layer would hold more than `max_weights` weights, or a parameter runs over
            one population twice.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        in_channels: int,
        out_channels: int,
        *,
        init: Init = keep_variance,
        max_weights: int = MAX_WEIGHTS,
    ) -> None:
        super().__init__(spec.np(), in_channels, out_channels, init=init, max_weights=max_weights)


class HNPLinear(DerivedLinear):
    """The HNP NF-Layer (NFN appendix C, Tables 8 to 11): inputs and outputs keep their order.

    Every input and output has weights of its own: O((L + n_in + n_out)^2) a pair of channels.
    For wide inputs use `LowRankHNPLinear`, or `IOSinusoidalEncoding` followed by `NPLinear`.

    Args:
        spec: The network's symmetry; `spec.hnp()` is what counts.
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        init: Fills the weights; `keep_variance` or the paper's `fan_in_uniform`.
        max_weights: Raise instead of allocating more weights than this.

    Shape:
        Features `(*batch, *axes, in_channels)` to `(*batch, *axes, out_channels)`.

    Raises:
        SpecError: If the layer would hold more than `max_weights` weights, or a parameter runs over
            one population twice.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        in_channels: int,
        out_channels: int,
        *,
        init: Init = keep_variance,
        max_weights: int = MAX_WEIGHTS,
    ) -> None:
        super().__init__(spec.hnp(), in_channels, out_channels, init=init, max_weights=max_weights)


def _scaled(columns: slice, channels: int) -> slice:
    return slice(columns.start * channels, columns.stop * channels)
