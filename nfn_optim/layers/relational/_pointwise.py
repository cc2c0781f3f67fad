"""The ablation of `SharedNPLinear`: it maps every entry by itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ._pack import PackedFeatures
from ._packed_entries import by_block, map_entries
from ._packed_terms import described
from ._parts import Means, Slice, Terms
from ._roles import ParameterAxes, Roles
from ._shared import SharedLayer, map_channels


class SharedPointwise(SharedLayer):
    """Linear map of an entry and its parameter's descriptors, on any network.

    Weights have one map and vectors another. What neurons share is not read.

    Args:
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        context_channels: Channels of the per-parameter descriptors given to `forward`.

    Shape:
        As of `SharedNPLinear`.
    """

    def __init__(self, in_channels: int, out_channels: int, context_channels: int = 0) -> None:
        super().__init__(in_channels, out_channels, context_channels)
        bound = (in_channels + context_channels) ** -0.5
        self.entry = nn.Parameter(torch.empty(2, out_channels, in_channels).uniform_(-bound, bound))
        self.context = nn.Parameter(
            torch.empty(2, out_channels, context_channels).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.zeros(2, out_channels, 1))

    def pool(self, parameter: ParameterAxes, part: Slice) -> Means:
        """The means of outputs, which only `average` reads."""
        return Means(part.matrix if parameter.source is None else part.matrix.mean(-1), None)

    def entries(self, parameter: ParameterAxes, part: Slice) -> Slice:
        """Maps entries by themselves."""
        y = map_channels(self.entry[int(parameter.source is None)], part.entries)
        return Slice(
            y, torch.zeros_like(y.flatten(-parameter.taps)[..., 0]) if parameter.taps else y
        )

    def average(self, parameter: ParameterAxes, pooled: Means) -> Tensor:
        """Mean of what `entries` makes of a parameter, from the means of all of it: `(o, *b)`."""
        return map_channels(self.entry[int(parameter.source is None)], pooled.rows.mean(-1))

    def terms(
        self, roles: Roles, pooled: Mapping[str, Means], context: Tensor | None
    ) -> dict[str, Terms]:
        """Maps of descriptors `(k, *b, parameters)`, added to all entries of their parameter."""
        sizes = [roles.num_weights, len(roles.parameters) - roles.num_weights]
        described = (None, None) if context is None else context.split(sizes, -1)
        lead = pooled[roles.parameters[0].name].rows.shape[1:-1]
        added: list[Tensor] = []
        for size, given, weight, bias in zip(
            sizes, described, self.context, self.bias, strict=True
        ):
            mapped = bias.reshape(-1, *(1,) * len(lead), 1).expand(-1, *lead, size)
            if given is not None:
                mapped = mapped + map_channels(weight, given)
            added.extend(mapped.unbind(-1))
        terms = {}
        for p, whole in zip(roles.parameters, added, strict=True):
            size = pooled[p.name].rows.shape[-1]
            terms[p.name] = Terms(whole.unsqueeze(-1).expand(*whole.shape, size), None)
        return terms

    def packed(self, feats: PackedFeatures, context: Tensor | None) -> PackedFeatures:
        """The layer on packed networks; `context` has descriptors `(parameters, k)`."""
        weights, vectors = self.entry
        terms = described(feats.pack.whole, self.bias, self.context, context)
        sizes = [[block.num_weights, block.num_vectors] for block in feats.pack.blocks]
        blocks = zip(feats.blocks(), by_block(terms, sizes), strict=True)
        return feats.like(
            [map_entries(x, weights, vectors, own, b, b.entries) for (b, x), own in blocks]
        )
