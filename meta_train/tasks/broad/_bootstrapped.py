"""Values of states in a random process, learned from a slow copy of the network itself."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._base import Task, TaskFamily
from .._draw import Dice, build_seeded, mlp
from .._samples import split_samples
from ..architectures import USUAL, Budget, Builder, draw_mlp
from ._pose import pose


@dataclass(frozen=True)
class BootstrappedValues(TaskFamily):
    """Temporal differences: a reward now, and what the slow copy expects of the next state.

    Attributes:
        max_inputs: Most numbers that describe a state.
        budget: What a network may cost.
    """

    max_inputs: int = 24
    budget: Budget = USUAL

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a process, an architecture and how it is trained."""
        dice = Dice(generator)
        size, count = dice.size(2, self.max_inputs), dice.size(500, 8_000)
        states = torch.randn(count, size, generator=generator)
        mix = torch.linalg.qr(torch.randn(size, size, generator=generator)).Q
        stay = dice.uniform(0.5, 0.98)
        noise = torch.randn(count, size, generator=generator)
        following = stay * states @ mix + (1 - stay**2) ** 0.5 * noise
        reward = build_seeded(dice, lambda: mlp((size, dice.size(4, 32), 1), nn.Tanh))
        with torch.no_grad():
            rewards = reward(2 * states)
        rewards = (rewards - rewards.mean()) / rewards.std().clamp(min=1e-3)
        discount, rate = dice.uniform(0.3, 0.85), dice.log_uniform(3e-3, 0.3)

        def loss(found: tuple[Tensor, Tensor], rewards: Tensor) -> Tensor:
            now, later = found
            return F.mse_loss(now, rewards + discount * later)

        def doubled(dice: Dice) -> Builder:
            build = draw_mlp(dice, states[:1], 1)
            return lambda: _WithSlowCopy(build(), rate)

        data = split_samples(torch.stack([states, following], dim=1), rewards)
        return pose(dice, doubled, data, loss, self.budget)


class _WithSlowCopy(nn.Module):
    """Pairs of states `(b, 2, d)` to the network's value of the first and the copy's of the next.

    At every call the copy goes a part of the way to where the network is.
    """

    def __init__(self, net: nn.Module, rate: float) -> None:
        super().__init__()
        self.net, self.slow, self.rate = net, copy.deepcopy(net).requires_grad_(False), rate

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for slow, fast in zip(self.slow.parameters(), self.net.parameters(), strict=True):
            slow.lerp_(fast.detach(), self.rate)
        with torch.no_grad():
            later = self.slow(x[:, 1])
        return self.net(x[:, 0]), later
