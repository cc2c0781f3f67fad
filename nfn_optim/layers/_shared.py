"""NF-Layer with maps shared by relation: one weight set for any depth, width and kernel size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        parameters: Weights first, then vectors, each in the order of the spec.
        num_weights: How many are weights.
        sizes: Neurons of each population.
        carriers: For each role, and each population, the parameters that carry it in this role.
    """

    parameters: tuple[Parameter, ...]
    num_weights: int
    sizes: tuple[int, ...]
    carriers: tuple[tuple[tuple[str, ...], ...], ...]


@lru_cache(maxsize=256)
def plan_of(spec: NetworkSpec) -> Plan:
    """The plan of a network."""
    populations = {label: i for i, label in enumerate(spec.sizes)}
    weights: list[Parameter] = []
    vectors: list[Parameter] = []
    carriers: list[list[list[str]]] = [[[] for _ in populations] for _ in range(_ROLES)]
    for name, labels in spec.axes.items():
        named = [populations[label] for label in labels if label is not None]
        taps = len(labels) - len(named)
        source = named[1] if named[1:] else None
        (vectors if source is None else weights).append(Parameter(name, named[0], source, taps))
        for role, population in zip((0, 1) if named[1:] else (2,), named, strict=True):
            carriers[role][population].append(name)
    frozen = tuple(tuple(map(tuple, populations)) for populations in carriers)
    return Plan((*weights, *vectors), len(weights), tuple(spec.sizes.values()), frozen)


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
        described = None
        if context is not None:
            described = torch.stack([context[p.name].movedim(-1, 0) for p in plan.parameters], -1)
        pooled = {p.name: self.pool(p, moved[p.name]) for p in plan.parameters}
        terms = self.terms(plan, pooled, described)
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
        self, plan: Plan, pooled: Mapping[str, Pooled], context: Tensor | None
    ) -> dict[str, Terms]:
        """What everything else says; `context` has descriptors `(k, *b, parameters)`."""
        neurons = self._neuron_terms(plan, pooled)
        network = self._network_terms(plan, pooled, context)
        rows, cols = self._own_terms([pooled[p.name] for p in plan.parameters[: plan.num_weights]])
        terms = {}
        for i, p in enumerate(plan.parameters):
            whole = network[i].unsqueeze(-1)
            if p.source is None:
                terms[p.name] = Terms(neurons[p.out][2] + whole, None)
            else:
                total = neurons[p.out][0] + rows[i] + whole
                terms[p.name] = Terms(total, neurons[p.source][1] + cols[i])
        return terms

    def _own_terms(self, weights: Sequence[Pooled]) -> list[tuple[Tensor, ...]]:
        """What a weight's own row and column means tell its entries."""
        terms: list[tuple[Tensor, ...]] = []
        for own, of in zip(self.own, ("rows", "cols"), strict=True):
            parts = [getattr(pooled, of) for pooled in weights]
            mixed = mix(own, torch.cat(parts, -1)) if parts else None
            sizes = [part.shape[-1] for part in parts]
            terms.append(() if mixed is None else mixed.split(sizes, -1))
        return terms

    def _neuron_terms(self, plan: Plan, pooled: Mapping[str, Pooled]) -> list[tuple[Tensor, ...]]:
        """What neurons tell the weights that end in them, that start in them, and their vectors."""
        first = next(iter(pooled.values())).rows
        zero = first.new_zeros(()).expand(*first.shape[:-1], 1)
        joined = []
        for of, carriers in zip(("rows", "cols", "rows"), plan.carriers, strict=True):
            parts = [
                _average([getattr(pooled[n], of) for n in names])
                if names
                else zero.expand(*first.shape[:-1], size)
                for size, names in zip(plan.sizes, carriers, strict=True)
            ]
            joined.append(torch.cat(parts, -1))
        mixed = mix(self.neurons, torch.cat(joined))  # (3 o, *b, all neurons)
        return [part.chunk(_ROLES) for part in mixed.split(list(plan.sizes), -1)]

    def _network_terms(
        self, plan: Plan, pooled: Mapping[str, Pooled], context: Tensor | None
    ) -> list[Tensor]:
        """What the whole network and its own descriptors tell each parameter: `(o, *b)`."""
        means = torch.stack([pooled[p.name].rows.mean(-1) for p in plan.parameters], -1)
        sizes = [plan.num_weights, len(plan.parameters) - plan.num_weights]
        kinds = means.split(sizes, -1)  # (c, *b, parameters of this kind)
        described = (None, None) if context is None else context.split(sizes, -1)
        network = [
            (kind.mean(-1) if size else means[..., 0] * 0).unsqueeze(-1)
            for kind, size in zip(kinds, sizes, strict=True)
        ]
        terms: list[Tensor] = []
        for position, (kind, given) in enumerate(zip(kinds, described, strict=True)):
            inputs = [kind, *(n.expand_as(kind) for n in network)]
            mixed = mix(
                self.network[position], torch.cat(inputs if given is None else [*inputs, given])
            )
            bias = self.bias[position].reshape(-1, *(1,) * (mixed.dim() - 1))
            terms.extend((mixed + bias).unbind(-1))
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


def _average(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).mean(0)


def mix(weight: Tensor, x: Tensor) -> Tensor:
    """`weight` (o, c) on the channels of `x` (c, ...), one matrix product."""
    return (weight @ x.reshape(x.shape[0], -1)).view(weight.shape[0], *x.shape[1:])
