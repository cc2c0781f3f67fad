"""Networks of any architectures, by name, and what is known about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from .._files import Zoo
from ._bad import describe_bad, refuse
from ._labels import Value, check_columns
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

    def __repr__(self) -> str:
        parts = [f"{len(self)} networks of {len(self.networks.parts)} architectures"]
        parts += [f"labels {', '.join(map(repr, self.labels))}"] if self.labels else []
        parts += [f"{len(self.skipped)} skipped"] if self.skipped else []
        return f"Collection({'; '.join(parts)})"

    def labelled(self, columns: Sequence[str], skip_bad: bool = False) -> Collection:
        """The networks that have a value in each of some columns.

        Args:
            columns: Which.
            skip_bad: Leaves out the others, instead of an error.

        Raises:
            ValueError: If there is no such column, or networks have no value there.
        """
        check_columns(self.labels, *columns)
        bad = {
            name: f"has no value of {column}"
            for column in columns
            for name, value in zip(self.names, self.labels[column], strict=True)
            if value is None
        }
        return self.without(bad, skip_bad)

    def without(self, bad: Mapping[str, str], skip_bad: bool) -> Collection:
        """The other networks.

        Args:
            bad: Why networks cannot be used, by name.
            skip_bad: Leaves them out, instead of an error.

        Raises:
            ValueError: If there are any and they are not left out, or none is left.
        """
        refuse(bad, len(self), skip_bad)
        kept = [row for row, name in enumerate(self.names) if name not in bad]
        if not kept:
            raise ValueError(describe_bad(bad, len(self)))
        return Collection(
            tuple(self.names[row] for row in kept),
            self.networks.take(torch.tensor(kept)),
            {name: tuple(values[row] for row in kept) for name, values in self.labels.items()},
            {**self.skipped, **bad},
        )
