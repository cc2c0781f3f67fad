"""Networks of different architectures as one batch: their entries in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

import torch
from torch import Tensor

from ...native import keep_memory
from ...native.packed import Networks
from ...symmetry import NetworkSpec, SpecError, WeightSpaceFeatures
from ._links import Link, Links
from ._network_links import VECTORS, WEIGHTS, NetworkLinks, links_of

_ENTRIES = 1 << 17  # of a block: its features stay in the cache, and malloc keeps their memory
_CPU = torch.device("cpu")
Index = Tensor | slice | Sequence[int]


@dataclass(frozen=True, eq=False)
class Block:
    """Some networks of a pack, whose entries are one table: first those of all weights.

    Attributes:
        links: Of each network.
        device: Where its links are.
    """

    links: tuple[NetworkLinks, ...]
    device: torch.device

    @cached_property
    def slots(self) -> Links:
        """Entries to outputs of weights, inputs of weights, outputs of vectors, and taps."""
        return self._join([network.slots for network in self.links])

    @cached_property
    def owners(self) -> Links:
        """Slots, without taps, to neurons in each role and to parameters."""
        return self._join([network.owners for network in self.links])

    @cached_property
    def entries(self) -> Links:
        """Entries to parameters: weights, and vectors."""
        return self._join([network.entries for network in self.links])

    @cached_property
    def networks(self) -> Links:
        """Parameters to networks, each with a row for weights and one for vectors."""
        return self._join([network.networks for network in self.links])

    @cached_property
    def groups(self) -> Links:
        """Parameters to the groups of `NetworkPool`, some for each network."""
        return self._join([network.groups for network in self.links])

    @cached_property
    def num_weights(self) -> int:
        """Weights of all networks."""
        return sum(network.roles.num_weights for network in self.links)

    @cached_property
    def num_vectors(self) -> int:
        """Vectors of all networks."""
        return sum(len(network.kinds[VECTORS]) for network in self.links)

    @cached_property
    def num_weight_entries(self) -> int:
        """Entries of all weights; those of vectors follow."""
        return sum(sum(network.sizes[WEIGHTS]) for network in self.links)

    @cached_property
    def slot_sizes(self) -> list[int]:
        """How many outputs of weights, inputs of weights and outputs of vectors there are."""
        sizes = (network.slot_sizes for network in self.links)
        return [sum(counts) for counts in zip(*sizes, strict=True)]

    def table(self, describe: Callable[[NetworkSpec], Tensor]) -> Tensor:
        """What is known of parameters, `(parameters, k)` in the order of `entries`' targets.

        Args:
            describe: From a spec to `(parameters, k)`, in the order of its names.
        """
        rows = []
        for kind in (WEIGHTS, VECTORS):
            for network in self.links:
                places = [network.spec.names.index(p.name) for p in network.kinds[kind]]
                rows.append(describe(network.spec)[places])
        return torch.cat(rows).to(self.device)

    def _join(self, networks: Sequence[Link]) -> Links:
        return Links.join(networks).to(self.device)


@dataclass(frozen=True, eq=False)
class Pack:
    """Networks of different architectures, as one batch for layers that are shared by relation.

    Entries of all networks stand in tables, and layers work on these with sums over what belongs
    together; which that is, is worked out once. So the cost does not depend on the number of
    networks and parameters, as it does in a loop.

    Use `Pack.of(specs)`, which remembers the last packs.

    Attributes:
        specs: Of the networks, in order.
        blocks: The networks in groups of some size, each with a table of its own.
        device: Where its index tensors are.

    Example:
        >>> from nfn_optim.layers import Pack, SharedNPLinear
        >>> from nfn_optim.testing import chain_spec, random_features
        >>> specs = [chain_spec([2, 3, 1]), chain_spec([2, 4, 4, 1])]
        >>> pack = Pack.of(specs)
        >>> feats = pack.join([random_features(spec, 1, batch=()) for spec in specs])
        >>> SharedNPLinear(1, 8)(feats)
        PackedFeatures(2 networks, 50 entries, 8 channels)
    """

    specs: tuple[NetworkSpec, ...]
    blocks: tuple[Block, ...]
    device: torch.device

    @classmethod
    def of(cls, specs: Sequence[NetworkSpec], device: torch.device | str | None = None) -> Pack:
        """The pack of some networks.

        Args:
            specs: One for each network; equal ones may come many times.
            device: Where its index tensors are; without, on the CPU.

        Raises:
            SpecError: If there are no networks, or a parameter runs over three populations or more,
                or has no entries.
        """
        return _remembered(tuple(specs), torch.device(device or _CPU))

    def __len__(self) -> int:
        return len(self.specs)

    @cached_property
    def links(self) -> tuple[NetworkLinks, ...]:
        """Of each network."""
        return tuple(network for block in self.blocks for network in block.links)

    @cached_property
    def whole(self) -> Block:
        """All networks as one block, for tables that are small."""
        return self.blocks[0] if len(self.blocks) == 1 else Block(self.links, self.device)

    @cached_property
    def native(self) -> Networks:
        """What native code knows of the networks."""
        return Networks.of([[own.native for own in block.links] for block in self.blocks])

    def take(self, index: Index) -> Pack:
        """The pack of some of the networks: positions, a mask or a slice."""
        positions = _positions(index, len(self))
        if positions == [*range(len(self))]:
            return self
        return _packed([self.links[i] for i in positions], self.device)

    def to(self, device: torch.device | str) -> Pack:
        """The same on a device."""
        device = torch.device(device)
        return self if device == self.device else Pack.of(self.specs, device)

    def join(self, networks: Sequence[Mapping[str, Tensor]]) -> PackedFeatures:
        """Features of the networks, from those of each.

        Args:
            networks: Features `(*axes, c)` by name for each network, such as
                `WeightSpaceFeatures` without batch axes.

        Raises:
            SpecError: If there are more or fewer networks than specs, a parameter is missing or
                unknown, or shapes, channels, types or devices do not fit.
        """
        _check(self.specs, networks)
        first = next(iter(networks[0].values()))
        pack, found = self.to(first.device), []
        given = iter(networks)
        for block in pack.blocks:
            own = list(zip(block.links, given, strict=False))  # ends with the block
            parts = [
                feats[p.name].reshape(-1, first.shape[-1])
                for kind in (WEIGHTS, VECTORS)
                for network, feats in own
                for p in network.kinds[kind]
            ]
            found.append(torch.cat(parts))
        return PackedFeatures(pack, tuple(found))

    def join_params(self, networks: Sequence[Mapping[str, Tensor]]) -> PackedFeatures:
        """Features with one channel, from parameters as modules store them.

        Args:
            networks: State dicts; what a spec does not name is left out.

        Raises:
            SpecError: As in `join`.
        """
        if len(networks) != len(self):
            raise _wrong_count(len(self), len(networks))
        features = []
        for place, (spec, params) in enumerate(zip(self.specs, networks, strict=True)):
            for name, shape in spec.stored.items():
                if name not in params or tuple(params[name].shape) != shape:
                    raise _wrong_tensor(place, name, params.get(name), shape)
            features.append({n: spec.view(n, params[n]).unsqueeze(-1) for n in spec.names})
        return self.join(features)

    def stack(self, networks: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Descriptors `(k,)` of parameters by name, for each network, as `(parameters, k)`.

        Raises:
            SpecError: If there are more or fewer networks than specs, or a parameter is missing.
        """
        if len(networks) != len(self):
            raise _wrong_count(len(self), len(networks))
        for place, (spec, given) in enumerate(zip(self.specs, networks, strict=True)):
            for name in spec.names:
                if name not in given:
                    raise SpecError(f"network {place} has no descriptors of {name!r}. Give them.")
        return torch.stack(
            [
                given[p.name]
                for kind in (WEIGHTS, VECTORS)
                for network, given in zip(self.links, networks, strict=True)
                for p in network.kinds[kind]
            ]
        )

    def __repr__(self) -> str:
        entries = sum(network.num_entries for network in self.links)
        return f"Pack({len(self)} networks, {entries} entries)"


class PackedFeatures:
    """Features of many networks of different architectures, in the tables of a pack.

    What a layer or function does to the channels of one entry works on them as on
    `WeightSpaceFeatures`: `map`, `values` and `like` see a tensor `(entries, c)` for each block.

    Args:
        pack: Of the networks.
        tensors: The table of each block, `(entries, c)`.
    """

    def __init__(self, pack: Pack, tensors: Sequence[Tensor]) -> None:
        self.pack, self.tensors = pack, tuple(tensors)

    def __len__(self) -> int:
        return len(self.pack)

    @property
    def channels(self) -> int:
        """Number of feature channels."""
        return self.tensors[0].shape[-1]

    def values(self) -> tuple[Tensor, ...]:
        """The tables, `(entries, c)`."""
        return self.tensors

    def blocks(self) -> Iterator[tuple[Block, Tensor]]:
        """Blocks and their tables."""
        return zip(self.pack.blocks, self.tensors, strict=True)

    def map(self, fn: Callable[[Tensor], Tensor]) -> PackedFeatures:
        """Applies `fn` to every table; `fn` must keep the entries."""
        return self.like([fn(tensor) for tensor in self.tensors])

    def like(self, tensors: Sequence[Tensor]) -> PackedFeatures:
        """Features of the same networks, a table for each block."""
        return PackedFeatures(self.pack, tensors)

    def to(self, device: torch.device | str) -> PackedFeatures:
        """The same on a device."""
        return PackedFeatures(self.pack.to(device), [t.to(device) for t in self.tensors])

    @cached_property
    def parts(self) -> list[tuple[Tensor, Tensor]]:
        """The entries of each network's weights and of its vectors: views."""
        return [parts for block, table in self.blocks() for parts in _by_network(block, table)]

    def take(self, index: Index) -> PackedFeatures:
        """Some of the networks: positions, a mask or a slice."""
        pack, tables = self.pack.take(index), []
        if pack is self.pack:
            return self
        wanted = [self.parts[i] for i in _positions(index, len(self))]
        start = 0
        for block in pack.blocks:
            own = wanted[start : start + len(block.links)]
            tables.append(torch.cat([part[kind] for kind in (WEIGHTS, VECTORS) for part in own]))
            start += len(own)
        return PackedFeatures(pack, tables)

    def split(self) -> list[WeightSpaceFeatures]:
        """Features of each network, `(*axes, c)`: views."""
        found = []
        for network, parts in zip(self.pack.links, self.parts, strict=True):
            tensors = {}
            for kind, part in enumerate(parts):
                pieces = part.split(network.sizes[kind])
                for p, piece in zip(network.kinds[kind], pieces, strict=True):
                    tensors[p.name] = piece.reshape(*network.spec.shapes[p.name], -1)
            found.append(WeightSpaceFeatures(network.spec, tensors))
        return found

    def __repr__(self) -> str:
        entries = sum(map(len, self.tensors))
        return f"PackedFeatures({len(self)} networks, {entries} entries, {self.channels} channels)"


@lru_cache(maxsize=16)
def _remembered(specs: tuple[NetworkSpec, ...], device: torch.device) -> Pack:
    links = []
    for place, spec in enumerate(specs):
        try:
            links.append(links_of(spec))
        except SpecError as error:
            raise SpecError(f"network {place} cannot be packed: {error}") from error
    return _packed(links, device)


def _packed(links: Sequence[NetworkLinks], device: torch.device) -> Pack:
    """Networks in their order, in blocks that are full with `_ENTRIES`."""
    keep_memory()
    if not links:
        raise SpecError("a pack got no networks. Give one spec at least.")
    blocks: list[list[NetworkLinks]] = [[]]
    entries = 0
    for network in links:
        if blocks[-1] and entries + network.num_entries > _ENTRIES:
            blocks.append([])
            entries = 0
        blocks[-1].append(network)
        entries += network.num_entries
    specs = tuple(network.spec for network in links)
    return Pack(specs, tuple(Block(tuple(block), device) for block in blocks), device)


def _positions(index: Index, count: int) -> list[int]:
    if isinstance(index, Tensor):
        index = index.cpu()
    elif not isinstance(index, slice):
        index = torch.tensor(index, dtype=torch.int64, device=_CPU)
    positions: list[int] = torch.arange(count, device=_CPU)[index].tolist()
    return positions


def _by_network(block: Block, table: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The entries of each network's weights and of its vectors."""
    sizes = [[sum(network.sizes[kind]) for network in block.links] for kind in (WEIGHTS, VECTORS)]
    parts = table.split([*chain(*sizes)])
    return list(zip(parts[: len(block.links)], parts[len(block.links) :], strict=True))


def _check(specs: Sequence[NetworkSpec], networks: Sequence[Mapping[str, Tensor]]) -> None:
    if len(networks) != len(specs):
        raise _wrong_count(len(specs), len(networks))
    first = next(iter(networks[0].values()))
    for place, (spec, feats) in enumerate(zip(specs, networks, strict=True)):
        if len(feats) != len(spec.axes):
            odd = sorted(set(feats) ^ set(spec.names))
            raise SpecError(f"network {place} and its spec do not name the same parameters: {odd}.")
        for name, shape in spec.shapes.items():
            tensor = feats.get(name)
            if tensor is None or tensor.shape != (*shape, first.shape[-1]):
                raise _wrong_tensor(place, name, tensor, (*shape, first.shape[-1]))
            if tensor.dtype != first.dtype or tensor.device != first.device:
                raise SpecError(
                    f"network {place} has {name!r} in {tensor.dtype} on {tensor.device}; the first "
                    f"network's features are in {first.dtype} on {first.device}. Convert one."
                )


def _wrong_count(expected: int, given: int) -> SpecError:
    return SpecError(f"the pack has {expected} networks; got features of {given}. Give one each.")


def _wrong_tensor(
    place: int, name: str, tensor: Tensor | None, expected: tuple[int, ...]
) -> SpecError:
    got = "no such parameter" if tensor is None else f"the shape {tuple(tensor.shape)}"
    return SpecError(f"network {place} has {got} for {name!r}; expected {expected}.")
