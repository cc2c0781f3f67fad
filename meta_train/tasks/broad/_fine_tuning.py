"""Networks that are trained already: on one data set, then as the task on another."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import IMAGES, load_data
from .._base import ModuleTask, Task, TaskFamily
from .._draw import Dice, build_seeded
from .._samples import Split
from ..architectures import Budget
from ._images import draw_part
from ._pose import Architecture, pose

_RATE = 2e-3  # of AdamW, before
_BUDGET = Budget(max_weights=40_000, max_work=1e7)


@dataclass(frozen=True)
class FineTuning(TaskFamily):
    """Classifiers of images that were trained on other images before.

    The training before is a few hundred steps of AdamW, done where the task is drawn. After it the
    whole network is trained, or its later half, or low-rank additions to its linear layers; half of
    the time with a new head.

    Attributes:
        architecture: Draws the network.
        data: Names of data sets, as for `load_data`; two of them are drawn.
        max_steps: Longest training before.
        budget: What a network may cost.
    """

    architecture: Architecture
    data: tuple[str, ...] = IMAGES
    max_steps: int = 300
    budget: Budget = _BUDGET

    def sample(self, generator: torch.Generator) -> Task:
        """Draws both data sets, an architecture and how it is trained."""
        dice = Dice(generator)
        side = dice.size(8, 20)
        before, now = (self._draw_images(dice, side) for _ in range(2))
        labels = (part for data in (before, now) for part in (data.labels, data.held_labels))
        classes = 1 + max(int(part.max()) for part in labels)
        first = pose(
            dice,
            lambda d: self.architecture(d, before.inputs[:1], classes),
            before,
            F.cross_entropy,
            self.budget,
        )
        net = _trained(dice, first, dice.size(self.max_steps // 6, self.max_steps))
        change = dice.choice((_whole, _whole, _later_half, _low_rank))
        rank = 2 ** dice.integer(0, 3)
        new_head = dice.chance(0.5)

        def start() -> nn.Module:
            copied = copy.deepcopy(net)
            if new_head:
                _head_of(copied).reset_parameters()
            return change(copied, rank)

        return ModuleTask(
            start,
            F.cross_entropy,
            (now.inputs, now.labels),
            validation_data=(now.held_inputs, now.held_labels),
            batch_size=first.batch_size,
        )

    def _draw_images(self, dice: Dice, side: int) -> Split:
        """Gray images of a size."""
        data = draw_part(dice, load_data(dice.choice(self.data)), 4_000)
        return data.map(lambda x: F.adaptive_avg_pool2d(x.mean(1, keepdim=True), side))


def _trained(dice: Dice, task: ModuleTask, steps: int) -> nn.Module:
    net = build_seeded(dice, task.build)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(dice.integer(0, 2**31 - 1))  # of dropout
        for _ in range(steps):
            inputs, targets = task.batch(dice.generator)
            optimizer.zero_grad()
            task.loss_fn(net(inputs), targets).backward()
            optimizer.step()
    net.zero_grad()
    return net


def _head_of(net: nn.Module) -> nn.Linear:
    return [part for part in net.modules() if isinstance(part, nn.Linear)][-1]


def _whole(net: nn.Module, rank: int) -> nn.Module:
    return net


def _later_half(net: nn.Module, rank: int) -> nn.Module:
    params = list(net.parameters())
    for param in params[: len(params) // 2]:
        param.requires_grad_(False)
    return net


def _low_rank(net: nn.Module, rank: int) -> nn.Module:
    """Additions to all linear layers, of which every network has one at least."""
    layers = [(name, part) for name, part in net.named_modules() if isinstance(part, nn.Linear)]
    net.requires_grad_(False)
    for name, layer in layers:
        net.set_submodule(name, _LowRank(layer, rank))
    return net


class _LowRank(nn.Module):
    """A linear layer and an addition of low rank, which is zero at first."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x) + self.up(self.down(x))
        return y
