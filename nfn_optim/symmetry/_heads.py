"""Populations that are made of equal groups: heads of attention, groups of a convolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Heads:
    """Equal groups of neighbouring neurons that one population is made of.

    Heads are renumbered as a whole, and so are the neurons inside of each head by themselves: a
    part of all renumberings of the population (a wreath product). A matrix that reads or writes
    such a population is made of one matrix a head.

    Attributes:
        count: Number of heads.
        numbering: The population of heads. Populations of one numbering are renumbered together:
            the heads of queries and keys with those of values.
        run: Neighbouring heads that stay together, as queries that share a key.
        is_rigid: Whether neurons inside of a head keep their order, as rotary embeddings need.
    """

    count: int
    numbering: str
    run: int = 1
    is_rigid: bool = False

    @property
    def num_runs(self) -> int:
        """What is renumbered: heads, or runs of them."""
        return self.count // self.run

    def permutation(self, size: int, runs: Tensor | None, generator: torch.Generator) -> Tensor:
        """A random renumbering of `size` neurons.

        Args:
            size: Number of neurons in all heads.
            runs: The renumbering of the runs; None where they stay.
            generator: Draws the renumbering inside of each head.
        """
        neurons = torch.arange(size).reshape(self.count, -1)  # (heads, neurons)
        if not self.is_rigid:
            inside = torch.rand(neurons.shape, generator=generator).argsort(1)
            neurons = neurons.gather(1, inside)
        if runs is not None:
            neurons = neurons.reshape(self.num_runs, self.run, -1)[runs]
        return neurons.flatten()
