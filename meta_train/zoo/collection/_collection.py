"""Networks of any architectures, by name, and what is known about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .._files import Zoo
from ._labels import Value
from ._networks import Networks


@dataclass(frozen=True, eq=False)
class Collection:
    """Networks that may differ in width and depth, and their labels.

    Attributes:
        names: Of the networks: a file's path in the folder without its ending, or a position.
        networks: Their weights.
        labels: Columns of a table, a value for each network; None where it has none.
        skipped: Why networks or rows of the table were left out, by name.
    """

    names: tuple[str, ...]
    networks: Networks
    labels: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, zoo: Zoo) -> Collection:
        """A zoo as a collection; labels with more than one number a network are left out."""
        labels: dict[str, tuple[Value, ...]] = {}
        for name, label in zoo.labels.items():
            if label.dim() == 1:
                values = label.tolist()
                meanings = zoo.categories.get(name)
                labels[name] = tuple(meanings[v] for v in values) if meanings else tuple(values)
        rows = torch.arange(len(zoo))
        return cls(tuple(map(str, rows.tolist())), Networks((zoo.features,), (rows,)), labels)

    def __len__(self) -> int:
        return len(self.names)
