"""NF-Layer whose maps are shared by relation: one weight set for any depth, width, graph and kernel size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from .._features import WeightSpaceFeatures
from .._spec import NetworkSpec

_ROLES = 3  # a population is the outputs of some weights, the inputs of others, and carries vectors


@dataclass(frozen=True)
class _Parameter:
    """How one parameter is read: its axes' populations (positions in `_Plan.populations`).

    A depthwise kernel is a vector with taps.
    """

    name: str
    out: int
    source: int | None  # None: a vector
    taps: int  # number of trailing axes whose order matters


@dataclass(frozen=True)
class _Plan:
    """What `SharedNPLinear` does on one network, worked out once from its spec."""

    parameters: tuple[_Parameter, ...]
    sizes: tuple[int, ...]  # neurons of each population
    carriers: tuple[tuple[tuple[str, ...], ...], ...]  # population -> role -> parameter names


@lru_cache(maxsize=256)
def _plan(spec: NetworkSpec) -> _Plan:
    populations = {label: i for i, label in enumerate(spec.sizes)}
    parameters = []
    carriers: list[tuple[list[str], ...]] = [([], [], []) for _ in populations]
    for name, labels in spec.axes.items():
        named = [populations[label] for label in labels if label is not None]
        taps = len(labels) - len(named)
        parameters.append(_Parameter(name, named[0], named[1] if named[1:] else None, taps))
        for role, population in zip((0, 1) if named[1:] else (2,), named, strict=True):
            carriers[population][role].append(name)
    frozen = tuple(tuple(tuple(names) for names in roles) for roles in carriers)
    return _Plan(tuple(parameters), tuple(spec.sizes.values()), frozen)


class SharedNPLinear(nn.Module):
    """Linear NP-equivariant layer with one map a relation instead of one a pair of parameters.

    The terms are those of the NF-Layer (Eq. 3 and Table 7 of arXiv 2302.14040): an output entry sums
    its own entry, its row and column means, the means of what its neurons share with other
    parameters, and means over the whole network. A map depends on *how* source and target are
    related (which role the shared neurons play in each), not on which layers they are; so the layer
    holds no spec, runs on any network, and spans a subspace of `NPLinear`. Kernel taps share all
    maps; an entry also sees its mean over taps.

    Args:
        in_channels: Channels of the input features.
        out_channels: Channels of the output features.
        context_channels: Channels of the per-parameter descriptors given to `forward`.

    Shape:
        Features `(*batch, *axes, in_channels)` to `(*batch, *axes, out_channels)`.
    """

    def __init__(self, in_channels: int, out_channels: int, context_channels: int = 0) -> None:
        super().__init__()
        c, o = in_channels, out_channels
        self.in_channels, self.out_channels = c, o
        self.context_channels = context_channels
        self.entry = nn.Parameter(torch.empty(o, c))
        self.vector = nn.Parameter(torch.empty(o, c))
        self.taps = nn.Parameter(torch.empty(o, c))
        self.own = nn.Parameter(torch.empty(2, o, c))
        self.neurons = nn.Parameter(torch.empty(_ROLES * o, _ROLES * c))
        self.network = nn.Parameter(torch.empty(2, o, 3 * c + context_channels))
        self.bias = nn.Parameter(torch.zeros(2, o, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform with the fan-in of all terms that add into one weight entry (appendix A)."""
        c = self.in_channels
        bound = (c * (2 + 2 + 2 * _ROLES + 3) + self.context_channels) ** -0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(
        self, feats: WeightSpaceFeatures, context: Mapping[str, Tensor] | None = None
    ) -> WeightSpaceFeatures:
        """Applies the layer; `context` gives descriptors `(*batch, context_channels)` by parameter."""
        moved = {name: tensor.movedim(-1, 0) for name, tensor in feats.items()}
        turned = {name: t.movedim(-1, 0) for name, t in (context or {}).items()}
        out = self.apply_channels_first(feats.spec, moved, turned)
        return WeightSpaceFeatures(feats.spec, {n: t.movedim(0, -1) for n, t in out.items()})

    def apply_channels_first(
        self, spec: NetworkSpec, feats: Mapping[str, Tensor], context: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The layer on `(c, *batch, *axes)` features and `(k, *batch)` descriptors.

        Entries are the fast axis here, which suits few channels.
        """
        plan = _plan(spec)
        rows, cols, means, thick = self._pool(plan, feats)
        neurons = self._neuron_terms(plan, rows, cols)
        whole = self._network_terms(plan, means, context)
        out = {}
        for p in plan.parameters:
            x, n = feats[p.name], neurons[p.out]
            if p.source is None:
                own = n[2] + whole[p.name].unsqueeze(-1)
                if p.taps:
                    own = own + _mix(self.taps, rows[p.name])
                    own = own.reshape(own.shape + (1,) * p.taps)
                out[p.name] = _mix(self.vector, x) + own
                continue
            row = n[0] + _mix(self.own[0], rows[p.name]) + whole[p.name].unsqueeze(-1)
            col = neurons[p.source][1] + _mix(self.own[1], cols[p.name])
            y = _mix(self.entry, x)
            context_map = row.unsqueeze(-1) + col.unsqueeze(-2)
            if p.taps:
                context_map = context_map + _mix(self.taps, thick[p.name])
                context_map = context_map.reshape(context_map.shape + (1,) * p.taps)
            out[p.name] = y.add_(context_map)
        return out

    def _pool(
        self, plan: _Plan, feats: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Means over taps, then rows, columns and everything: `(c, *b, out, in)`, `(c, *b, n)`, `(c, *b)`."""
        rows, cols, means, thick = {}, {}, {}, {}
        for p in plan.parameters:
            x = feats[p.name]
            matrix = x.mean(tuple(range(-p.taps, 0))) if p.taps else x
            if p.source is None:
                rows[p.name] = matrix
            else:
                thick[p.name] = matrix
                rows[p.name], cols[p.name] = matrix.mean(-1), matrix.mean(-2)
            means[p.name] = rows[p.name].mean(-1)
        return rows, cols, means, thick

    def _neuron_terms(
        self, plan: _Plan, rows: Mapping[str, Tensor], cols: Mapping[str, Tensor]
    ) -> list[tuple[Tensor, ...]]:
        """What every neuron tells the weights that end in it, that start in it, and its vectors."""
        first = next(iter(rows.values()))
        pooled = []
        for size, roles in zip(plan.sizes, plan.carriers, strict=True):
            empty = first.new_zeros(()).expand(*first.shape[:-1], size)
            tables = (rows, cols, rows)
            pooled.append(
                torch.cat(
                    [
                        _average([table[n] for n in names]) if names else empty
                        for table, names in zip(tables, roles, strict=True)
                    ]
                )
            )
        mixed = _mix(self.neurons, torch.cat(pooled, -1))  # (3 o, *b, all neurons)
        return [part.chunk(_ROLES) for part in mixed.split(list(plan.sizes), -1)]

    def _network_terms(
        self, plan: _Plan, means: Mapping[str, Tensor], context: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What the whole network and its own descriptors tell a parameter: `(o, *b)`."""
        kinds: tuple[list[str], list[str]] = ([], [])
        for p in plan.parameters:
            kinds[p.source is None].append(p.name)
        zero = torch.zeros_like(next(iter(means.values())))
        network = [_average([means[n] for n in names]) if names else zero for names in kinds]
        terms = {}
        for kind, names in enumerate(kinds):
            if names:
                stacked = torch.stack(
                    [torch.cat([means[n], *network, *_given(context, n)]) for n in names], -1
                )
                mixed = _mix(self.network[kind], stacked)  # (o, *b, parameters of this kind)
                mixed = mixed + self.bias[kind].reshape(-1, *(1,) * (mixed.dim() - 1))
                terms.update(zip(names, mixed.unbind(-1), strict=True))
        return terms


def _given(context: Mapping[str, Tensor], name: str) -> list[Tensor]:
    return [context[name]] if context else []


def _average(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).mean(0)


def _mix(weight: Tensor, x: Tensor) -> Tensor:
    """`weight` (o, c) on the channels of `x` (c, ...), one matrix product."""
    return (weight @ x.reshape(x.shape[0], -1)).view(-1, *x.shape[1:])
