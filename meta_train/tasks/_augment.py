"""Families made of other families: the same problems in other units and other orders.

An optimizer that has seen a problem in many units does not come to rely on any.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ._base import Batch, ModuleTask, Params, Task, TaskFamily
from ._draw import Dice


@dataclass(frozen=True)
class Augmentation(TaskFamily):
    """Draws a task from a family, then changes it.

    Attributes:
        family: Where tasks are drawn from.
    """

    family: TaskFamily

    def sample(self, generator: torch.Generator) -> Task:
        """Draws a task, and what is done to it."""
        return self.change(self.family.sample(generator), Dice(generator))

    @abstractmethod
    def change(self, task: Task, dice: Dice) -> Task:
        """The changed task."""


@dataclass(frozen=True)
class ScaledLoss(Augmentation):
    """Multiplies the loss by a log-uniform constant.

    Attributes:
        family: Where tasks are drawn from.
        low: Smallest constant.
        high: Largest constant.
    """

    low: float = 0.01
    high: float = 100.0

    def change(self, task: Task, dice: Dice) -> Task:
        """The task with a multiple of its loss."""
        return _ScaledLossTask(task, dice.log_uniform(self.low, self.high))


@dataclass(frozen=True)
class ReparametrizedWeights(Augmentation):
    """Measures weights in other units: the network sees `s * p` where `p` is trained.

    The initial function stays the same; gradients of `p` are `s` times larger, and steps have to be
    `s` times smaller.

    Attributes:
        family: Where tasks are drawn from.
        low: Smallest unit; units are log-uniform.
        high: Largest unit.
        per_tensor: Whether every tensor has a unit of its own.
    """

    low: float = 0.1
    high: float = 10.0
    per_tensor: bool = False

    def change(self, task: Task, dice: Dice) -> Task:
        """The task in other units."""
        shared = dice.log_uniform(self.low, self.high)
        return _ReparametrizedTask(
            task,
            {
                name: dice.log_uniform(self.low, self.high) if self.per_tensor else shared
                for name in task.spec.names
            },
        )


@dataclass(frozen=True)
class PermutedInputs(Augmentation):
    """Brings the input features into a random order, the same for all samples of a task."""

    def change(self, task: Task, dice: Dice) -> Task:
        """The task with permuted inputs."""
        module_task = _module_task(task, type(self).__name__)
        size = module_task.data[0][0].numel()
        order = torch.randperm(size, generator=dice.generator)
        return _with_data(
            module_task, lambda x: x.flatten(1)[:, order].view_as(x), lambda targets: targets
        )


@dataclass(frozen=True)
class PermutedLabels(Augmentation):
    """Renames the classes at random; tasks without classes stay as they are."""

    def change(self, task: Task, dice: Dice) -> Task:
        """The task with permuted labels."""
        module_task = _module_task(task, type(self).__name__)
        targets = module_task.data[1]
        if targets.is_floating_point():
            return task
        parts = (module_task.data, module_task.validation_data, module_task.test_data)
        largest = max(int(part[1].max()) for part in parts if part)  # some may be held out alone
        order = torch.randperm(largest + 1, generator=dice.generator)
        return _with_data(module_task, lambda x: x, lambda labels: order[labels])


class Changed(Task):
    """A task that differs in some calls and passes the others on."""

    def __init__(self, task: Task) -> None:
        self.task, self.spec, self.carried = task, task.spec, task.carried

    def init(self, generator: torch.Generator) -> Params:
        return self.task.init(generator)

    def batch(self, generator: torch.Generator) -> Batch:
        return self.task.batch(generator)

    def validation_batch(self, generator: torch.Generator) -> Batch:
        return self.task.validation_batch(generator)

    def loss(self, params: Params, batch: Batch) -> Tensor:
        return self.task.loss(params, batch)

    def evaluate(self, params: Params) -> dict[str, Tensor]:
        return self.task.evaluate(params)


class _ScaledLossTask(Changed):
    def __init__(self, task: Task, factor: float) -> None:
        super().__init__(task)
        self.factor = factor

    def loss(self, params: Params, batch: Batch) -> Tensor:
        return self.factor * self.task.loss(params, batch)


class _ReparametrizedTask(Changed):
    def __init__(self, task: Task, units: dict[str, float]) -> None:
        super().__init__(task)
        self.units = units

    def init(self, generator: torch.Generator) -> Params:
        return {
            n: p / self.units[n] if n in self.units else p
            for n, p in self.task.init(generator).items()
        }

    def loss(self, params: Params, batch: Batch) -> Tensor:
        own = self._in_units(params)
        loss = self.task.loss(own, batch)
        params.update({n: own[n] for n in self.carried})
        return loss

    def evaluate(self, params: Params) -> dict[str, Tensor]:
        return self.task.evaluate(self._in_units(params))

    def _in_units(self, params: Params) -> Params:
        return {n: self.units[n] * p if n in self.units else p for n, p in params.items()}


def _module_task(task: Task, name: str) -> ModuleTask:
    if not isinstance(task, ModuleTask):
        raise ValueError(
            f"{name} reorders the data of a ModuleTask; got {type(task).__name__}. "
            "Put it inside of the other augmentations."
        )
    return task


def _with_data(
    task: ModuleTask, inputs: Callable[[Tensor], Tensor], targets: Callable[[Tensor], Tensor]
) -> ModuleTask:
    """A copy whose data sets are changed."""
    changed = copy.copy(task)
    changed.data = inputs(task.data[0]), targets(task.data[1])
    held, test = task.validation_data, task.test_data
    changed.validation_data = inputs(held[0]), targets(held[1])
    changed.test_data = (inputs(test[0]), targets(test[1])) if test else None
    return changed
