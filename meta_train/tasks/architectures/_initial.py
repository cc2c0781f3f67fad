"""Initial weights: PyTorch's own, and the other usual ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from .._draw import Dice
from ._layers import Builder

_DRAWN: tuple[Callable[[Tensor], Tensor], ...] = (
    nn.init.orthogonal_,
    nn.init.xavier_uniform_,
    nn.init.xavier_normal_,
    partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    partial(nn.init.normal_, std=0.02),
    partial(nn.init.trunc_normal_, std=0.05),
)


def draw_initial(dice: Dice, build: Builder, *, default: float = 0.6) -> Builder:
    """The same network, a share of the time as it is, else with other weights and zero biases."""
    if dice.chance(default):
        return build
    init, zero_biases = dice.choice(_DRAWN), dice.chance(0.5)

    def initialized() -> nn.Module:
        module = build()
        for part in module.modules():
            _initialize(part, init, zero_biases)
        return module

    return initialized


def _initialize(part: nn.Module, init: Callable[[Tensor], Tensor], zero_biases: bool) -> None:
    if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)):
        init(part.weight)
        if zero_biases and part.bias is not None:
            nn.init.zeros_(part.bias)
    elif isinstance(part, nn.RNNBase):
        for name, weight in part.named_parameters(recurse=False):
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(weight)
