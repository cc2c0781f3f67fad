"""Processes that hold parts of the same parameters, and what they tell each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from ...layers.relational import Means, Roles
from ...rules import Params, Share
from .._local import is_sharded
from ._cut import Cut


@dataclass(frozen=True)
class Team:
    """Processes that hold parts of the same parameters.

    Attributes:
        group: They.
        cuts: The parameters, by name.
        mine: The position of this process.
    """

    group: dist.ProcessGroup
    cuts: Mapping[str, Cut]
    mine: int

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.group.size()

    def owners(self, costs: Mapping[str, float]) -> dict[str, int]:
        """A process for each parameter: the costliest first, each to whom has least to do."""
        load = [0.0] * self.size
        owners = {}
        for name in sorted(costs, key=lambda name: (-costs[name], name)):
            owners[name] = load.index(min(load))
            load[owners[name]] += costs[name]
        return owners

    def to_owners(self, parts: Params, owners: Mapping[str, int]) -> Params:
        """Makes parameters whole, each at its owner, in one exchange.

        Args:
            parts: What is here of each parameter, `(k, *part)`.
            owners: Who gets it.

        Returns:
            `(k, *stored)` of those that this process owns.
        """
        if not parts:
            return {}
        first = next(iter(parts.values()))
        k, mine = len(first), [name for name in parts if owners[name] == self.mine]
        sent = [[parts[n] for n in parts if owners[n] == to] for to in range(self.size)]
        counts = [sum(k * self.cuts[n].count_of(i) for n in mine) for i in range(self.size)]
        whole: Params = {n: first.new_empty((k, *self.cuts[n].shape)) for n in mine}
        for i, received in enumerate(self._exchange(sent, counts, first)):
            for name, flat in zip(mine, self._split(received, mine, k, i), strict=True):
                self.cuts[name].part_of(whole[name], i).copy_(flat)
        return whole

    def from_owners(self, whole: Params, owners: Mapping[str, int], like: Params, k: int) -> Params:
        """Brings results back, in one exchange.

        Args:
            whole: Those of the parameters that this process owns, `(k, *stored)`.
            owners: As for `to_owners`.
            like: What was given there.
            k: Of each result.

        Returns:
            What is here of all of them, `(k, *part)`.
        """
        if not like:
            return {}
        mine = [name for name in owners if owners[name] == self.mine]
        sent = [[self.cuts[n].part_of(whole[n], to) for n in mine] for to in range(self.size)]
        theirs = [[n for n in owners if owners[n] == i] for i in range(self.size)]
        counts = [sum(k * self.cuts[n].count_of(self.mine) for n in names) for names in theirs]
        parts: Params = {}
        received = self._exchange(sent, counts, next(iter(like.values())))
        for names, flat in zip(theirs, received, strict=True):
            parts |= zip(names, self._split(flat, names, k, self.mine), strict=True)
        return parts

    def add(self, values: Tensor) -> Tensor:
        """Sums over the processes, in place."""
        dist.all_reduce(values, group=self.group)
        return values

    def _exchange(
        self, sent: Sequence[Sequence[Tensor]], counts: list[int], like: Tensor
    ) -> Sequence[Tensor]:
        """Sends tensors to each process, and receives so many numbers of each."""
        flat = [torch.cat([like.new_empty(0), *(x.flatten() for x in xs)]) for xs in sent]
        received = like.new_empty(sum(counts))
        sizes = [len(x) for x in flat]
        dist.all_to_all_single(received, torch.cat(flat), counts, sizes, group=self.group)
        return received.split(counts)

    def _split(self, flat: Tensor, names: Sequence[str], k: int, holder: int) -> list[Tensor]:
        """Numbers as the parts of parameters that a process holds."""
        parts = flat.split([k * self.cuts[n].count_of(holder) for n in names])
        return [
            part.view(k, *self.cuts[n].size_of(holder))
            for n, part in zip(names, parts, strict=True)
        ]


class Teams(Share):
    """All teams of the parameters of a step: processes share what they know of them.

    Args:
        teams: Each with other parameters.
    """

    def __init__(self, teams: Sequence[Team]) -> None:
        self.teams = teams

    def all_agree(self, value: bool, device: torch.device) -> bool:
        """Whether something holds on all processes."""
        missing = torch.tensor(float(not value), device=device)
        for team in self.teams:
            team.add(missing)
        return not bool(missing)

    def at_owners(
        self,
        parts: Params,
        costs: Mapping[str, float],
        work: Callable[[Params], Params],
        k: int,
    ) -> Params:
        """Works on whole parameters, each at its owner; those in no team are whole everywhere.

        Args:
            parts: What is here of each, `(j, *part)`.
            costs: What it costs to work on each.
            work: Makes `(k, *stored)` of those `(j, *stored)` that this process owns.
            k: See there.

        Returns:
            What is here of each result, `(k, *part)`.
        """
        sent = [{n: x for n, x in parts.items() if n in team.cuts} for team in self.teams]
        whole = {n: x for n, x in parts.items() if not any(n in of for of in sent)}
        back = set(whole)
        owners = [
            team.owners({n: costs[n] for n in of})
            for team, of in zip(self.teams, sent, strict=True)
        ]
        for team, of, own in zip(self.teams, sent, owners, strict=True):
            whole |= team.to_owners(of, own)
        done = work(whole)
        found = {n: done[n] for n in back}
        for team, of, own in zip(self.teams, sent, owners, strict=True):
            found |= team.from_owners(done, own, of, k)
        return found

    def from_one(self, found: Params, like: Params) -> Params:
        """What is found of whole parameters, each by one process or by all, for all of them.

        Args:
            found: By this process.
            like: Tensors of the same shapes, of all parameters.
        """
        known = {n: x for n, x in found.items() if not any(n in team.cuts for team in self.teams)}
        for team in self.teams:
            names = [n for n in like if n in team.cuts]
            parts = [found.get(n, torch.zeros_like(like[n])).flatten() for n in names]
            if parts:
                joined = team.add(torch.cat(parts)).split([part.numel() for part in parts])
                known |= {n: x.view_as(like[n]) for n, x in zip(names, joined, strict=True)}
        return known

    def totals(self, names: Sequence[str], sums: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
        """See `Share`."""
        both = torch.cat([sums.double(), norms.double().square()])
        for team in self.teams:
            held = [i for i, name in enumerate(names) if name in team.cuts]
            if held:
                both[..., held] = team.add(both[..., held])
        summed, squares = both.split([len(sums), len(norms)])
        return summed.to(sums.dtype), squares.sqrt().to(norms.dtype)

    def means(self, roles: Roles, pooled: Mapping[str, Means], none: Tensor) -> dict[str, Means]:
        """See `Share`."""
        found = dict(pooled)
        for team in self.teams:
            held = [p for p in roles.parameters if p.name in team.cuts]
            sizes = [[roles.sizes[of] for of in (p.out, p.source) if of is not None] for p in held]
            parts = [
                _known(found.get(p.name), [none.expand(-1, size) for size in of])
                for p, of in zip(held, sizes, strict=True)
            ]
            joined = team.add(torch.cat([x for part in parts for x in part], -1))
            columns = iter(joined.split([size for of in sizes for size in of], -1))
            for p, of in zip(held, sizes, strict=True):
                found[p.name] = Means(next(columns), next(columns) if of[1:] else None)
        return found


def _known(means: Means | None, nothing: Sequence[Tensor]) -> list[Tensor]:
    """Rows and columns; nothing of those that are not known here."""
    if means is None:
        return list(nothing)
    known = (means.rows, means.cols)
    return [nil if x is None else x for x, nil in zip(known, nothing, strict=False)]


@dataclass
class Groups:
    """Makes teams, and remembers the groups that it has made for them.

    Groups belong to this process: copies and pickles start without.
    """

    _made: dict[tuple[int, ...], dist.ProcessGroup] = field(default_factory=dict)
    _teams: dict[tuple[str, ...], Teams] = field(default_factory=dict)

    def teams(self, params: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]) -> Teams:
        """Of the parameters of a step.

        Args:
            params: By name; those that are whole belong to no team.
            dtypes: Of their accumulators.
        """
        key = tuple(params)
        if key not in self._teams:
            while len(self._teams) >= _MOST_TEAMS:
                del self._teams[next(iter(self._teams))]
            self._teams[key] = self._find(params, dtypes)
        return self._teams[key]

    def _find(self, params: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]) -> Teams:
        alike: dict[tuple[tuple[int, ...], torch.dtype], dict[str, Cut]] = {}
        for name, param in params.items():
            cut = Cut.of(param) if is_sharded(param) else None
            if cut is not None and cut.ranks:
                alike.setdefault((cut.ranks, dtypes[name]), {})[name] = cut
        teams = []
        for (ranks, _), cuts in alike.items():
            group = self._group(ranks)
            teams.append(Team(group, cuts, dist.get_rank(group)))
        return Teams(teams)

    def _group(self, ranks: tuple[int, ...]) -> dist.ProcessGroup:
        """Of processes; they alone take part in making it, if it has to be made."""
        world = dist.group.WORLD
        assert world is not None
        if len(ranks) == world.size():
            return world
        if ranks not in self._made:
            made = dist.new_group(list(ranks), use_local_synchronization=True)
            assert isinstance(made, dist.ProcessGroup)
            self._made[ranks] = made
        return self._made[ranks]

    def __reduce__(self) -> tuple[type[Groups], tuple[()]]:
        return Groups, ()


_MOST_TEAMS = 32  # as of the specs of sets of parameters with gradients
