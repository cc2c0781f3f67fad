"""The ablation of `SharedNPLinear`: it maps every entry by itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ._linear import map_channels
from ._parts import Means, Slice, Terms
from ._roles import ParameterAxes, Roles


class SharedPointwise(nn.Module):
    """Linear map of an entry and its parameter's descriptors, with the methods of `SharedNPLinear`.

    Args:
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        context_channels: Channels of the per-parameter descriptors.
    """

    def __init__(self, in_channels: int, out_channels: int, context_channels: int = 0) -> None:
        super().__init__()
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

    def terms(self, roles: Roles, pooled: Mapping[str, Means], context: Tensor) -> dict[str, Terms]:
        """Maps of descriptors `(k, *b, parameters)`, added to all entries of their parameter."""
        sizes = [roles.num_weights, len(roles.parameters) - roles.num_weights]
        added: list[Tensor] = []
        for kind, given in enumerate(context.split(sizes, -1)):
            mapped = map_channels(self.context[kind], given)
            bias = self.bias[kind].reshape(-1, *(1,) * (mapped.dim() - 1))
            added.extend((mapped + bias).unbind(-1))
        terms = {}
        for p, whole in zip(roles.parameters, added, strict=True):
            size = pooled[p.name].rows.shape[-1]
            terms[p.name] = Terms(whole.unsqueeze(-1).expand(*whole.shape, size), None)
        return terms
