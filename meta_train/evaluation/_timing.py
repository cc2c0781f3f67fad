"""Seconds of a training step as users write it: one module, one `torch.optim` optimizer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.optim import Optimizer

from ..tasks import ModuleTask

_BLOCKS = 5
_STEPS = 20


def seconds_per_step(
    task: ModuleTask, make_optimizers: Mapping[str, Callable[[nn.Module], Optimizer]]
) -> dict[str, float]:
    """Seconds of forward, backward and update, by optimizer.

    The optimizers take turns in short blocks, so that a busy machine slows all of them; the fastest
    block counts.

    Args:
        task: What is trained; batches are drawn outside of the measurement.
        make_optimizers: By name.
    """
    generator = torch.Generator().manual_seed(0)
    batches = [task.batch(generator) for _ in range(_STEPS)]
    steps = {name: _step(task, make) for name, make in make_optimizers.items()}
    best = dict.fromkeys(steps, float("inf"))
    for block in range(_BLOCKS + 1):  # the first one warms up
        for name, step in steps.items():
            start = time.perf_counter()
            for batch in batches:
                step(batch)
            seconds = (time.perf_counter() - start) / _STEPS
            best[name] = min(best[name], seconds) if block else best[name]
    return best


def _step(
    task: ModuleTask, make_optimizer: Callable[[nn.Module], Optimizer]
) -> Callable[[tuple[torch.Tensor, torch.Tensor]], None]:
    module = task.build()
    optimizer = make_optimizer(module)

    def step(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        inputs, targets = batch
        optimizer.zero_grad()
        task.loss_fn(module(inputs), targets).backward()
        optimizer.step()

    return step
