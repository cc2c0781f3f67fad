"""NF-Layer with maps shared by relation: one weight set for any depth, width and kernel size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ._pack import PackedFeatures
from ._packed_linear import packed_linear
from ._packed_terms import Maps, described
from ._parts import Means, Slice, Terms
from ._roles import NUM_ROLES, ParameterAxes, Roles
from ._shared import SharedLayer, map_channels


class SharedNPLinear(SharedLayer):
    """Linear NP-equivariant layer with one map a relation instead of one a pair of parameters.

    The terms are those of the NF-Layer (Eq. 3, Table 7 of arXiv 2302.14040): an output entry sums
    its own entry, its row and column means, the means of what its neurons share with other
    parameters, and means over the whole network. A map depends on *how* source and target are
    related (which role the shared neurons play in each), not on which layers they are; so the layer
    holds no spec, runs on any network, and spans a subspace of `NPLinear`. Kernel taps share all
    maps; an entry also reads its mean over taps.

    Args:
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        context_channels: Channels of the per-parameter descriptors given to `forward`.

    Shape:
        Features `(*batch, *axes, in_channels)` to `(*batch, *axes, out_channels)`, on any spec
        whose parameters run over two populations at most, in any order of their axes; `forward`
        raises SpecError on others. Or `PackedFeatures` of different networks to the same.
    """

    def __init__(self, in_channels: int, out_channels: int, context_channels: int = 0) -> None:
        super().__init__(in_channels, out_channels, context_channels)
        c, o = in_channels, out_channels
        self.entry = nn.Parameter(torch.empty(o, c))
        self.vector = nn.Parameter(torch.empty(o, c))
        self.taps = nn.Parameter(torch.empty(o, c))
        self.own = nn.Parameter(torch.empty(2, o, c))
        self.neurons = nn.Parameter(torch.empty(NUM_ROLES * o, NUM_ROLES * c))
        self.network = nn.Parameter(torch.empty(2, o, 3 * c + context_channels))
        self.bias = nn.Parameter(torch.zeros(2, o, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform with the fan-in of all terms that add into one weight entry (appendix A)."""
        c = self.in_channels
        bound = (c * (2 + 2 + 2 * NUM_ROLES + 3) + self.context_channels) ** -0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def pool(self, parameter: ParameterAxes, part: Slice) -> Means:
        """The means of a slice that `terms` reads."""
        return Means.of(parameter, part)

    def entries(self, parameter: ParameterAxes, part: Slice) -> Slice:
        """Maps entries and, separately, their means over taps (not computed without taps)."""
        y = map_channels(self.vector if parameter.source is None else self.entry, part.entries)
        return Slice(y, map_channels(self.taps, part.matrix) if parameter.taps else y)

    def average(self, parameter: ParameterAxes, pooled: Means) -> Tensor:
        """Mean of what `entries` makes of a parameter, from the means of all of it: `(o, *b)`."""
        entry = self.vector if parameter.source is None else self.entry
        weight = entry + self.taps if parameter.taps else entry
        return map_channels(weight, pooled.rows.mean(-1))

    def terms(
        self, roles: Roles, pooled: Mapping[str, Means], context: Tensor | None
    ) -> dict[str, Terms]:
        """What is added to the entries: from their neurons, the network and `context`.

        `context` has descriptors `(k, *b, parameters)`.
        """
        neurons = self._neuron_terms(roles, pooled)
        network = self._network_terms(roles, pooled, context)
        rows, cols = self._own_terms(
            [pooled[p.name] for p in roles.parameters[: roles.num_weights]]
        )
        terms = {}
        for i, p in enumerate(roles.parameters):
            whole = network[i].unsqueeze(-1)
            if p.source is None:
                terms[p.name] = Terms(neurons[p.out][2] + whole, None)
            else:
                total = neurons[p.out][0] + rows[i] + whole
                terms[p.name] = Terms(total, neurons[p.source][1] + cols[i])
        return terms

    def packed(self, feats: PackedFeatures, context: Tensor | None) -> PackedFeatures:
        """The layer on packed networks; `context` has descriptors `(parameters, k)`."""
        means = 3 * self.in_channels
        of_means, of_context = self.network.split([means, self.network.shape[2] - means], 2)
        given = described(feats.pack.whole, self.bias, of_context, context)
        maps = Maps(self.entry, self.vector, self.taps, self.own, self.neurons, of_means)
        return packed_linear(maps, feats, given)

    def _own_terms(self, weights: Sequence[Means]) -> list[tuple[Tensor, ...]]:
        """Maps of the row means and of the column means of each weight itself."""
        terms: list[tuple[Tensor, ...]] = []
        for own, of in zip(self.own, ("rows", "cols"), strict=True):
            parts = [getattr(pooled, of) for pooled in weights]
            mapped = map_channels(own, torch.cat(parts, -1)) if parts else None
            sizes = [part.shape[-1] for part in parts]
            terms.append(() if mapped is None else mapped.split(sizes, -1))
        return terms

    def _neuron_terms(self, roles: Roles, pooled: Mapping[str, Means]) -> list[tuple[Tensor, ...]]:
        """Maps of the means at each neuron: for weights it ends, weights it starts, and vectors."""
        first = next(iter(pooled.values())).rows
        zero = first.new_zeros(()).expand(*first.shape[:-1], 1)
        joined = []
        for of, carriers in zip(("rows", "cols", "rows"), roles.carriers, strict=True):
            parts = [
                _average([getattr(pooled[n], of) for n in names])
                if names
                else zero.expand(*first.shape[:-1], size)
                for size, names in zip(roles.sizes, carriers, strict=True)
            ]
            joined.append(torch.cat(parts, -1))
        mapped = map_channels(self.neurons, torch.cat(joined))  # (3 o, *b, all neurons)
        return [part.chunk(NUM_ROLES) for part in mapped.split(list(roles.sizes), -1)]

    def _network_terms(
        self, roles: Roles, pooled: Mapping[str, Means], context: Tensor | None
    ) -> list[Tensor]:
        """Maps of means over each parameter and over the network, and of descriptors: `(o, *b)`."""
        means = torch.stack([pooled[p.name].rows.mean(-1) for p in roles.parameters], -1)
        sizes = [roles.num_weights, len(roles.parameters) - roles.num_weights]
        kinds = means.split(sizes, -1)  # (c, *b, parameters of this kind)
        described = (None, None) if context is None else context.split(sizes, -1)
        network = [
            (kind.mean(-1) if size else means[..., 0] * 0).unsqueeze(-1)
            for kind, size in zip(kinds, sizes, strict=True)
        ]
        terms: list[Tensor] = []
        for weight, bias, kind, given in zip(
            self.network, self.bias, kinds, described, strict=True
        ):
            inputs = [kind, *(n.expand_as(kind) for n in network)]
            mapped = map_channels(weight, torch.cat(inputs if given is None else [*inputs, given]))
            terms.extend((mapped + bias.reshape(-1, *(1,) * (mapped.dim() - 1))).unbind(-1))
        return terms


def _average(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).mean(0)
