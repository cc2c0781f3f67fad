"""A problem with a name and a length: what optimizers are compared on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...tasks import ModuleTask, Task
from ._network import TaskNetwork
from ._problem import Batch, Problem


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """A problem with a name and a length.

    Attributes:
        name: What reports call it.
        problem: Poses it: torch's global generator is seeded for the initial weights, the argument
            is for the batches.
        num_steps: Steps of a run.
        task: The same as meta-training sees it, where there is such a form: then contenders that
            are rules train all settings at once.
        rates: Learning rates that the task's protocol prescribes for peers; without any, each peer
            is tuned over its own grid.
        schedules: Schedules that the protocol prescribes, likewise.
        packages: Importable modules that are loaded by name to pose the problem.
    """

    name: str
    problem: Callable[[torch.Generator], Problem]
    num_steps: int = 300
    task: Callable[[], Task] | None = None
    rates: tuple[float, ...] | None = None
    schedules: tuple[str, ...] | None = None
    packages: tuple[str, ...] = ()

    @classmethod
    def from_task(
        cls,
        name: str,
        build: Callable[[], Task],
        num_steps: int = 500,
        *,
        rates: tuple[float, ...] | None = None,
        schedules: tuple[str, ...] | None = None,
    ) -> EvaluationTask:
        """A task of meta-training to compare on; `build` reads its data."""
        return cls(
            name=name,
            problem=lambda generator: as_problem(build(), generator),
            num_steps=num_steps,
            task=build,
            rates=rates,
            schedules=schedules,
        )

    def start(self, seed: int) -> Problem:
        """The problem with the initial weights and the batches of a seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.problem(torch.Generator().manual_seed(seed))


def as_problem(task: Task, generator: torch.Generator) -> Problem:
    """A task as a problem with the weights and batches that stacked training gives it.

    What is trained is the module of a `ModuleTask`; the tensors alone of other tasks, and where a
    loss of one's own reads them in another way.
    """

    def batches() -> Iterator[Batch]:
        while True:
            yield task.batch(generator)

    def score(model: nn.Module) -> dict[str, float]:
        scores = task.evaluate({**dict(model.named_parameters()), **dict(model.named_buffers())})
        return {name: value.item() for name, value in scores.items()}

    if not isinstance(task, ModuleTask) or type(task).loss is not ModuleTask.loss:
        network = TaskNetwork(task, task.init(generator))
        return Problem(network, batches(), lambda model, batch: model(batch), score)
    module, loss_fn = task.build(), task.loss_fn
    module.load_state_dict(task.init(generator), strict=False)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return loss_fn(model(batch[0]), batch[1])

    return Problem(module, batches(), loss, score)
