"""What is computed of networks once, before training, and read beside their weights in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from nfn_optim import WeightSpaceFeatures

from ._examples import Examples, Prepared

_AT_ONCE = 128  # networks that notes are taken of

Augment = Callable[[Examples, torch.Generator], Examples]


class Noted(NamedTuple):
    """Networks, and what a `Prepared` part has noted of them.

    Attributes:
        features: `(n, *axes, c)`.
        notes: `(n, ...)` each.
    """

    features: WeightSpaceFeatures
    notes: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class NotedExamples:
    """Examples whose features are `Noted`.

    Attributes:
        examples: The examples.
        notes: Of their networks, `(n, ...)` each.
    """

    examples: Examples
    notes: tuple[Tensor, ...]

    @property
    def features(self) -> Noted:
        """What a network reads."""
        return Noted(self.examples.features, self.notes)

    @property
    def targets(self) -> Tensor:
        """What it should write."""
        return self.examples.targets

    def __len__(self) -> int:
        return len(self.examples)

    def take(self, index: Tensor | slice) -> NotedExamples:
        """Some of the examples."""
        return NotedExamples(self.examples.take(index), tuple(note[index] for note in self.notes))


@torch.no_grad()
def take_notes(part: Prepared, examples: Examples) -> NotedExamples:
    """Examples with a part's notes of their networks."""
    pieces = (slice(i, i + _AT_ONCE) for i in range(0, len(examples), _AT_ONCE))
    notes = zip(*(part.note(examples.take(piece).features) for piece in pieces), strict=True)
    return NotedExamples(examples, tuple(torch.cat(several) for several in notes))


def on_examples(augment: Augment | None) -> Callable[..., NotedExamples] | None:
    """Augments examples and leaves their notes: these are of what an augmentation leaves alone."""
    if augment is None:
        return None

    def on_noted(noted: NotedExamples, generator: torch.Generator) -> NotedExamples:
        return replace(noted, examples=augment(noted.examples, generator))

    return on_noted
