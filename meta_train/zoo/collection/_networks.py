"""Weights of networks of several architectures, one batch of features for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import Pack, PackedFeatures

from ...tasks import Params


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks in one order, kept in a batch for each spec.

    Attributes:
        parts: Features `(n_i, *axes, 1)`, each of another spec.
        rows: Which of all networks the networks of each part are, `(n_i,)`.
    """

    parts: tuple[WeightSpaceFeatures, ...]
    rows: tuple[Tensor, ...]

    @classmethod
    def group(cls, specs: Sequence[NetworkSpec], params: Sequence[Params]) -> Networks:
        """Puts networks with equal specs into one batch."""
        members: dict[NetworkSpec, list[int]] = {}
        for row, spec in enumerate(specs):
            members.setdefault(spec, []).append(row)
        parts = [
            WeightSpaceFeatures.from_state_dicts(spec, [params[row] for row in rows])
            for spec, rows in members.items()
        ]
        return cls(tuple(parts), tuple(torch.tensor(rows) for rows in members.values()))

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    @property
    def specs(self) -> list[NetworkSpec]:
        """Of each network."""
        specs = {
            row: features.spec
            for features, rows in zip(self.parts, self.rows, strict=True)
            for row in rows.tolist()
        }
        return [specs[row] for row in range(len(self))]

    def pack(self) -> PackedFeatures:
        """All of them as one batch, in their order.

        Raises:
            SpecError: If a parameter runs over three populations or more.
        """
        alone: dict[int, dict[str, Tensor]] = {}
        for features, rows in zip(self.parts, self.rows, strict=True):
            split = {name: tensor.unbind() for name, tensor in features.items()}
            for place, row in enumerate(rows.tolist()):
                alone[row] = {name: tensors[place] for name, tensors in split.items()}
        return Pack.of(self.specs).join([alone[row] for row in range(len(self))])

    def take(self, index: Tensor | slice) -> Networks:
        """Some of the networks, in the order of `index`: positions, a mask or a slice."""
        wanted = torch.arange(len(self))[index]
        parts, rows = [], []
        for features, own in zip(self.parts, self.rows, strict=True):
            place = torch.full((len(self),), -1)
            place[own] = torch.arange(len(own))
            found = place[wanted]  # of each wanted network in this part, -1 elsewhere
            here = (found >= 0).nonzero().flatten()
            if len(here):
                parts.append(_pick(features, found[here]))
                rows.append(here)
        return Networks(tuple(parts), tuple(rows))

    def map(self, fn: Callable[[Tensor], Tensor]) -> Networks:
        """Applies `fn` to every tensor; `fn` must keep the parameter axes."""
        return Networks(tuple(features.map(fn) for features in self.parts), self.rows)

    def read(self, fn: Callable[[WeightSpaceFeatures], Tensor]) -> Tensor:
        """What `fn` makes of the networks, `(n, ...)` in their order; it sees one spec at once."""
        results = torch.cat([fn(features) for features in self.parts])
        return results[torch.cat(self.rows).argsort()]


def _pick(features: WeightSpaceFeatures, index: Tensor) -> WeightSpaceFeatures:
    return features.map(lambda tensor: tensor[index])
