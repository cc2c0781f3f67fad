"""What a network may cost, so that no draw takes minutes: weights, and work of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor, nn

from .._draw import Dice
from ._layers import Builder

_TRIES = 100  # for a large network


@dataclass(frozen=True)
class Budget:
    """Bounds on what is drawn; a network above them is drawn again.

    Attributes:
        max_weights: Most weights of nearly all networks.
        rare_weights: Most weights of the others, which have more than `max_weights`.
        rare: Share of the others, where the architecture can be as large.
        min_work: Least bound on the work of a step, in multiply-adds of a forward pass on its
            batch; bounds are log-uniform.
        max_work: Largest bound.
        min_batch: Fewest samples in a batch; sizes are log-uniform up to what the work allows.
        max_batch: Most samples in a batch.
    """

    max_weights: int = 60_000
    rare_weights: int = 300_000
    rare: float = 0.05
    min_work: float = 3e6
    max_work: float = 1e8
    min_batch: int = 4
    max_batch: int = 1_024

    def draw(
        self, dice: Dice, architecture: Callable[[Dice], Builder], sample: Tensor
    ) -> tuple[Builder, int]:
        """A network and a batch size within bounds that are drawn with them.

        Args:
            dice: Makes the choices.
            architecture: Draws a network.
            sample: One input, `(1, ...)`.
        """
        large = _TRIES * [(self.max_weights, self.rare_weights)] if dice.chance(self.rare) else []
        for least, most in chain(large, repeat((0, self.max_weights))):
            work = dice.log_uniform(self.min_work, self.max_work)
            build = architecture(dice)
            size, cost = measure(build, sample)
            affordable = int(work / max(cost, 1))
            if least < size <= most and affordable >= self.min_batch:
                return build, dice.size(self.min_batch, min(self.max_batch, affordable))
        raise AssertionError("it repeats without end")


USUAL = Budget()
"""What families draw within unless told otherwise."""


def measure(build: Builder, sample: Tensor) -> tuple[int, int]:
    """Weights of a network, and multiply-adds of its layers on one sample.

    Nothing is computed: the network is built and run without numbers.
    """
    work = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal work
        weights = sum(p.numel() for p in module.parameters(recurse=False) if p.dim() > 1)
        work += weights * _uses(module, inputs, output)

    with torch.device("meta"), torch.no_grad():
        module = build()
        for part in module.modules():
            part.register_forward_hook(count)
        module.eval()(torch.empty(sample.shape, dtype=sample.dtype))
    return sum(p.numel() for p in module.parameters()), work


def _uses(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int:
    """How often each weight of a layer is multiplied for one sample."""
    if isinstance(module, nn.Linear):
        return output.numel() // module.out_features
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return output.numel() // module.out_channels
    if isinstance(module, nn.ConvTranspose2d):
        return inputs[0].numel() // module.in_channels
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        return inputs[0].shape[0] * inputs[0].shape[1]
    return 0
