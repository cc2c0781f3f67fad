"""The ablation of `SharedNPLinear`: the same maps of an entry, and none of its neighbours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ._shared import Parameter, Plan, Pooled, Terms, mix


class SharedPointwise(nn.Module):
    """Per-entry linear map with `SharedNPLinear`'s calls: an entry sees itself and descriptors.

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

    def pool(self, parameter: Parameter, x: Tensor) -> Pooled:
        """Nothing is pooled; only sizes are kept."""
        inner = parameter.taps + (parameter.source is not None)
        return Pooled(x[(..., *(0,) * inner)], None)

    def entries(self, parameter: Parameter, x: Tensor) -> Tensor:
        """`(c, *b, *axes)` to `(o, *b, *axes)`."""
        return mix(self.entry[int(parameter.source is None)], x)

    def terms(self, plan: Plan, pooled: Mapping[str, Pooled], context: Tensor) -> dict[str, Terms]:
        """What descriptors `(k, *b, parameters)` add to all entries of their parameter."""
        sizes = [plan.num_weights, len(plan.parameters) - plan.num_weights]
        added: list[Tensor] = []
        for kind, given in enumerate(context.split(sizes, -1)):
            mixed = mix(self.context[kind], given)
            bias = self.bias[kind].reshape(-1, *(1,) * (mixed.dim() - 1))
            added.extend((mixed + bias).unbind(-1))
        terms = {}
        for p, whole in zip(plan.parameters, added, strict=True):
            size = pooled[p.name].rows.shape[-1]
            terms[p.name] = Terms(whole.unsqueeze(-1).expand(*whole.shape, size), None)
        return terms
