"""All seeds and settings of one optimizer on one task, trained as one stack of networks.

Shape legend: `n` networks = settings x seeds, of which a chunk is trained at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree

from ...inner import Losses, unroll
from ...support import seeded
from ...tasks import Batch, Task, draw_batches, stack
from ..contenders import SCHEDULES, Contender, Setting
from ._run import Run

_MEMORY = 1e8  # bytes of a chunk; larger ones leave the processor caches and are slower
_FLOATS = 200  # per weight: the state and intermediate channels of the hungriest rule

_Key = tuple[Setting, int]


@dataclass(frozen=True, eq=False)
class Sweep:
    """Training curves.

    Attributes:
        settings: What was varied.
        seeds: Of the initial parameters and batches.
        losses: Minibatch loss before each step, `(steps, settings, seeds)`.
        scores: What the task's `evaluate` says of the trained networks, `(settings, seeds)` each.
    """

    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    losses: np.ndarray
    scores: dict[str, np.ndarray]

    def runs(self) -> list[Run]:
        """Every network's own curve and scores."""
        return [
            Run(
                setting,
                seed,
                self.losses[:, row, column],
                {name: float(values[row, column]) for name, values in self.scores.items()},
            )
            for row, setting in enumerate(self.settings)
            for column, seed in enumerate(self.seeds)
        ]


def run_sweep(
    task: Task,
    contender: Contender,
    seeds: Sequence[int],
    num_steps: int,
) -> Sweep:
    """Trains with every setting from every seed.

    A seed decides the initial parameters and all batches, whatever the optimizer and the setting.

    Args:
        task: What to train.
        contender: Optimizer and settings.
        seeds: One network each.
        num_steps: Steps of every run.
    """
    runs = [(setting, seed) for setting in contender.settings for seed in seeds]
    size = networks_at_once(task)
    chunks = [runs[i : i + size] for i in range(0, len(runs), size)]
    trained = [_train(task, contender, chunk, num_steps) for chunk in chunks]
    grid = (len(contender.settings), len(seeds))
    losses = torch.cat([losses for losses, _ in trained], dim=1)  # (steps, n)
    scores = stack([score for _, chunk in trained for score in chunk])
    return Sweep(
        contender.settings,
        tuple(seeds),
        losses.reshape(-1, *grid).numpy(),
        {name: values.reshape(grid).numpy() for name, values in scores.items()},
    )


def networks_at_once(task: Task) -> int:
    """How many networks fit into a chunk's memory."""
    weights = sum(p.numel() for p in task.init(_generator(0)).values())
    return max(1, int(_MEMORY / (4 * _FLOATS * weights + 3 * _bytes_for_backward(task))))


def _train(
    task: Task, contender: Contender, runs: Sequence[_Key], num_steps: int
) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Losses `(steps, n)` and the scores of every network."""
    seeds = sorted({seed for _, seed in runs})
    index = torch.tensor([seeds.index(seed) for _, seed in runs])
    generators = [_generator(seed) for seed in seeds]

    def expand(tree: Batch) -> Batch:
        return _pytree.tree_map(lambda leaf: leaf[index], tree)

    assert contender.make_rule is not None
    params = expand(stack([task.init(generator) for generator in generators]))
    drawn = map(expand, draw_batches(task, generators, num_steps))
    trial = expand(stack([task.batch(_generator(seed)) for seed in seeds]))
    losses = Losses(task.loss, task.carried).tried(params, trial)
    rule = contender.make_rule(torch.tensor([setting.rate for setting, _ in runs]))
    factors = _factors([setting for setting, _ in runs], num_steps)
    with torch.no_grad():
        trained = {name: p for name, p in params.items() if name not in task.carried}
        state = rule.init(trained, task.spec, num_steps=num_steps if contender.told else None)
        arrived = unroll(
            rule, losses, params, drawn, state, lr=factors, generator=_generator(seeds[0])
        )
        networks = [{name: p[i] for name, p in arrived.params.items()} for i in range(len(runs))]
        return arrived.losses, [task.evaluate(network) for network in networks]


def _factors(settings: Sequence[Setting], num_steps: int) -> Callable[[int], Tensor] | None:
    """Factor on every network's update at step `k`, `(n,)`; None where all of them are one."""
    if all(setting.schedule == "constant" for setting in settings):
        return None
    schedules = [SCHEDULES[setting.schedule] for setting in settings]
    return lambda k: torch.tensor([schedule(k / num_steps) for schedule in schedules])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _bytes_for_backward(task: Task) -> int:
    """Memory that one network's loss keeps for its gradient."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    params = {
        n: p if n in task.carried else p.requires_grad_()
        for n, p in task.init(_generator(0)).items()
    }
    with seeded(0), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        task.loss(params, task.batch(_generator(0)))
    return kept
