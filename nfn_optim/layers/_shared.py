"""NF-Layer with maps shared by relation: one weight set for any depth, width and kernel size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from .._features import WeightSpaceFeatures
from .._spec import NetworkSpec

_ROLES = 3  # neurons are the outputs of some weights, the inputs of others, and carry vectors


@dataclass(frozen=True)
class Parameter:
    """How one parameter is read.

    Attributes:
        name: The parameter.
        out: Position of the population of its output axis in `Plan.sizes`.
        source: Position of the population of its input axis; None for a vector. A depthwise kernel
            is a vector with taps.
        taps: Number of trailing axes whose order matters.
    """

    name: str
    out: int
    source: int | None
    taps: int


@dataclass(frozen=True)
class Plan:
    """What `SharedNPLinear` does on one network, worked out once from its spec.

    Attributes:
        parameters: In the order of the spec.
        sizes: Neurons of each population.
        carriers: For each population and role, the parameters that carry it.
    """

    parameters: tuple[Parameter, ...]
    sizes: tuple[int, ...]
    carriers: tuple[tuple[tuple[str, ...], ...], ...]


@lru_cache(maxsize=256)
def plan_of(spec: NetworkSpec) -> Plan:
    """The plan of a network."""
    populations = {label: i for i, label in enumerate(spec.sizes)}
    parameters = []
    carriers: list[tuple[list[str], ...]] = [([], [], []) for _ in populations]
    for name, labels in spec.axes.items():
        named = [populations[label] for label in labels if label is not None]
        taps = len(labels) - len(named)
        parameters.append(Parameter(name, named[0], named[1] if named[1:] else None, taps))
        for role, population in zip((0, 1) if named[1:] else (2,), named, strict=True):
            carriers[population][role].append(name)
    frozen = tuple(tuple(tuple(names) for names in roles) for roles in carriers)
    return Plan(tuple(parameters), tuple(spec.sizes.values()), frozen)


@dataclass(frozen=True)
class Pooled:
    """Means of one parameter's features: per output `(c, *b, out)` and per input `(c, *b, in)`."""

    rows: Tensor
    cols: Tensor | None

    @classmethod
    def of(cls, parameter: Parameter, x: Tensor) -> Pooled:
        """Pools features `(c, *b, *axes)`."""
        matrix = mean_over_taps(parameter, x)
        if parameter.source is None:
            return cls(matrix, None)
        return cls(matrix.mean(-1), matrix.mean(-2))

    @classmethod
    def join(cls, parts: Sequence[Pooled]) -> Pooled:
        """Of a parameter from those of its slices along the output axis."""
        if len(parts) == 1:
            return parts[0]
        total = sum(part.rows.shape[-1] for part in parts)
        rows = torch.cat([part.rows for part in parts], -1)
        weighted = [p.cols * (p.rows.shape[-1] / total) for p in parts if p.cols is not None]
        return cls(rows, torch.stack(weighted).sum(0) if weighted else None)


@dataclass(frozen=True)
class Terms:
    """What pooled features add to one parameter: per output `(o, *b, out)`, per input neuron."""

    rows: Tensor
    cols: Tensor | None

    def split(self, size: int) -> list[Terms]:
        """For slices of `size` along the output axis."""
        return [Terms(rows, self.cols) for rows in self.rows.split(size, -1)]


class SharedNPLinear(nn.Module):
    """Linear NP-equivariant layer with one map a relation instead of one a pair of parameters.

    The terms are those of the NF-Layer (Eq. 3, Table 7 of arXiv 2302.14040): an output entry sums
    its own entry, its row and column means, the means of what its neurons share with other
    parameters, and means over the whole network. A map depends on *how* source and target are
    related (which role the shared neurons play in each), not on which layers they are; so the layer
    holds no spec, runs on any network, and spans a subspace of `NPLinear`. Kernel taps share all
    maps; an entry also sees its mean over taps.

    Only `entries` touches all entries; `terms` works on vectors of neurons. A caller may run
    `entries` and pooling on slices along the output axis.

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
        """Applies the layer; `context` has descriptors `(*batch, context_channels)` by name."""
        plan = plan_of(feats.spec)
        moved = {name: tensor.movedim(-1, 0) for name, tensor in feats.items()}
        turned = {name: t.movedim(-1, 0) for name, t in (context or {}).items()}
        pooled = {p.name: self.pool(p, moved[p.name]) for p in plan.parameters}
        terms = self.terms(plan, pooled, turned)
        out = {
            p.name: add_terms(p, self.entries(p, moved[p.name]), terms[p.name])
            for p in plan.parameters
        }
        return WeightSpaceFeatures(feats.spec, {n: t.movedim(0, -1) for n, t in out.items()})

    def pool(self, parameter: Parameter, x: Tensor) -> Pooled:
        """What `terms` needs to know of features `(c, *b, *axes)`, or of a slice of them."""
        return Pooled.of(parameter, x)

    def entries(self, parameter: Parameter, x: Tensor) -> Tensor:
        """What an entry and its mean over taps say: `(c, *b, *axes)` to `(o, *b, *axes)`."""
        y = mix(self.vector if parameter.source is None else self.entry, x)
        if parameter.taps:
            thick = mix(self.taps, mean_over_taps(parameter, x))
            y = y + thick.reshape(thick.shape + (1,) * parameter.taps)
        return y

    def terms(
        self, plan: Plan, pooled: Mapping[str, Pooled], context: Mapping[str, Tensor]
    ) -> dict[str, Terms]:
        """What everything else says; `context` has descriptors `(k, *b)` by parameter."""
        neurons = self._neuron_terms(plan, pooled)
        network = self._network_terms(plan, pooled, context)
        terms = {}
        for p in plan.parameters:
            own, whole = pooled[p.name], network[p.name].unsqueeze(-1)
            if p.source is None or own.cols is None:
                terms[p.name] = Terms(neurons[p.out][2] + whole, None)
            else:
                rows = neurons[p.out][0] + mix(self.own[0], own.rows) + whole
                cols = neurons[p.source][1] + mix(self.own[1], own.cols)
                terms[p.name] = Terms(rows, cols)
        return terms

    def _neuron_terms(self, plan: Plan, pooled: Mapping[str, Pooled]) -> list[tuple[Tensor, ...]]:
        """What neurons tell the weights that end in them, that start in them, and their vectors."""
        first = next(iter(pooled.values())).rows
        joined = []
        for size, roles in zip(plan.sizes, plan.carriers, strict=True):
            empty = first.new_zeros(()).expand(*first.shape[:-1], size)
            read: tuple[Callable[[str], Tensor | None], ...] = (
                lambda n: pooled[n].rows,
                lambda n: pooled[n].cols,
                lambda n: pooled[n].rows,
            )
            parts = [
                _average([t for t in map(of, names) if t is not None]) if names else empty
                for of, names in zip(read, roles, strict=True)
            ]
            joined.append(torch.cat(parts))
        mixed = mix(self.neurons, torch.cat(joined, -1))  # (3 o, *b, all neurons)
        return [part.chunk(_ROLES) for part in mixed.split(list(plan.sizes), -1)]

    def _network_terms(
        self, plan: Plan, pooled: Mapping[str, Pooled], context: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What the whole network and its own descriptors tell a parameter: `(o, *b)`."""
        means = {name: p.rows.mean(-1) for name, p in pooled.items()}
        kinds: tuple[list[str], list[str]] = ([], [])
        for p in plan.parameters:
            kinds[p.source is None].append(p.name)
        zero = torch.zeros_like(next(iter(means.values())))
        network = [_average([means[n] for n in names]) if names else zero for names in kinds]
        terms: dict[str, Tensor] = {}
        for kind, names in enumerate(kinds):
            if names:
                stacked = torch.stack(
                    [torch.cat([means[n], *network, *_given(context, n)]) for n in names], -1
                )
                mixed = mix(self.network[kind], stacked)  # (o, *b, parameters of this kind)
                mixed = mixed + self.bias[kind].reshape(-1, *(1,) * (mixed.dim() - 1))
                terms.update(zip(names, mixed.unbind(-1), strict=True))
        return terms


def add_terms(parameter: Parameter, y: Tensor, terms: Terms) -> Tensor:
    """Broadcasts terms onto entries `(o, *b, *axes)`, in place."""
    rows, cols, taps = terms.rows, terms.cols, (1,) * parameter.taps
    inputs = () if parameter.source is None else (1,)
    y.add_(rows.reshape(rows.shape + inputs + taps))
    return y if cols is None else y.add_(cols.unsqueeze(-2).reshape(*cols.shape[:-1], 1, -1, *taps))


def mean_over_taps(parameter: Parameter, x: Tensor) -> Tensor:
    """`(c, *b, *neurons, *taps)` to `(c, *b, *neurons)`."""
    return x.mean(tuple(range(-parameter.taps, 0))) if parameter.taps else x


def _given(context: Mapping[str, Tensor], name: str) -> list[Tensor]:
    return [context[name]] if context else []


def _average(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).mean(0)


def mix(weight: Tensor, x: Tensor) -> Tensor:
    """`weight` (o, c) on the channels of `x` (c, ...), one matrix product."""
    return (weight @ x.reshape(x.shape[0], -1)).view(-1, *x.shape[1:])
