"""What is trained: a task is one network's training problem, a family a distribution of tasks.

Authors write everything for *one* network and *one* batch; the library stacks and vmaps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree

from nfn_optim import NetworkSpec
from nfn_optim.optimizer import spec_of
from nfn_optim.rules import Params as Params

Batch = Any

_DRAWS_AT_ONCE = 64  # steps


class Task(ABC):
    """One training problem.

    Attributes:
        spec: The spec of the network's trained parameters.
        carried: Names of what a network has beside them: running statistics and other buffers,
            frozen parameters. None by default.
    """

    spec: NetworkSpec
    carried: frozenset[str] = frozenset()

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters of one network, and what it carries.

        Equal generators give equal tensors.
        """

    @abstractmethod
    def batch(self, generator: torch.Generator) -> Batch:
        """One training batch: any pytree of tensors."""

    def validation_batch(self, generator: torch.Generator) -> Batch:
        """A batch that training does not see, for the meta-loss; by default a training batch."""
        return self.batch(generator)

    @abstractmethod
    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Scalar training loss of one network on one batch.

        Random numbers, as of dropout, are drawn from torch's global generator, which is seeded.
        What is carried arrives in `params` and may be changed, in place or by another tensor of the
        same name.
        """

    def evaluate(self, params: Params) -> dict[str, Tensor]:
        """Scalars of one trained network on held-out data, e.g. `{"test_accuracy": ...}`."""
        return {}


class TaskFamily(ABC):
    """A distribution of tasks to meta-train on."""

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Task:
        """Draws a task."""


class ModuleTask(Task):
    """Any `nn.Module` with a loss and a data set.

    Everything that `NFNOptimizer` trains is trained here, by the same rule: parameters whose place
    in the network is not understood are read alone. Each network carries the module's buffers and
    frozen parameters through its own training. Losses are those of the module as it was built, in
    training mode unless it was left in another: dropout drops, batch normalization reads the batch
    and follows it with its running statistics, which `evaluate` uses.

    Args:
        build: Makes a freshly initialised module.
        loss_fn: `(outputs, targets) -> scalar`, e.g. `F.cross_entropy`.
        data: Training inputs `(samples, ...)` and targets `(samples, ...)`.
        validation_data: Inputs and targets that only the meta-loss sees.
        test_data: Held-out inputs and targets, for `evaluate`.
        batch_size: Samples a batch, drawn with replacement.
        init_scale: Multiplies every initial weight with two axes or more.

    Raises:
        ValueError: If there are no samples, or not as many targets as inputs.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        loss_fn: Callable[[Tensor, Tensor], Tensor],
        data: tuple[Tensor, Tensor],
        *,
        validation_data: tuple[Tensor, Tensor] | None = None,
        test_data: tuple[Tensor, Tensor] | None = None,
        batch_size: int = 64,
        init_scale: float = 1.0,
    ) -> None:
        for part in (data, validation_data or data):
            _check_samples(*part)
        self.build, self.loss_fn, self.data = build, loss_fn, data
        self.validation_data = validation_data or data
        self.test_data, self.batch_size, self.init_scale = test_data, batch_size, init_scale
        self.module = build()
        self.spec = spec_of(self.module)
        self.carried = frozenset(_tensors(self.module)) - frozenset(self.spec.names)

    def init(self, generator: torch.Generator) -> Params:
        """Parameters and buffers of a module that is built under the generator's seed."""
        seed = int(torch.randint(2**31, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.build()
        return {
            n: t.detach() * (self.init_scale if t.dim() > 1 else 1.0)
            if n in self.spec.axes
            else t.detach().clone()
            for n, t in _tensors(module).items()
        }

    def batch(self, generator: torch.Generator) -> Batch:
        """Inputs and targets of `batch_size` random samples."""
        return self._draw(self.data, generator)

    def validation_batch(self, generator: torch.Generator) -> Batch:
        """The same of the validation data, or of the training data where there is none."""
        return self._draw(self.validation_data, generator)

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """`loss_fn` of the module's outputs."""
        inputs, targets = batch
        return self.loss_fn(functional_call(self.module, params, (inputs,)), targets)

    def evaluate(self, params: Params) -> dict[str, Tensor]:
        """Figures of a trained network on the held-out data, where there is any.

        The module is in evaluation mode. `test_accuracy` where targets are classes and the outputs
        have one score a class, `(samples, ..., classes)` or `(samples, classes, ...)`; else
        `test_loss`.
        """
        if self.test_data is None:
            return {}
        inputs, targets = self.test_data
        with _evaluated(self.module):
            outputs = functional_call(self.module, dict(params), (inputs,))
        predicted = _classes(outputs, targets)
        if predicted is None:
            return {"test_loss": self.loss_fn(outputs, targets)}
        return {"test_accuracy": (predicted == targets).to(outputs.dtype).mean()}

    def _draw(self, data: tuple[Tensor, Tensor], generator: torch.Generator) -> Batch:
        (index,) = self._places(data, 1, generator)
        return data[0][index], data[1][index]

    def _places(
        self, data: tuple[Tensor, Tensor], steps: int, generator: torch.Generator
    ) -> Tensor:
        """Which samples are in the next batches, `(steps, batch_size)`."""
        return torch.randint(len(data[0]), (steps, self.batch_size), generator=generator)


def _check_samples(inputs: Tensor, targets: Tensor) -> None:
    if len(inputs) == 0 or len(inputs) != len(targets):
        raise ValueError(
            f"a task needs as many targets as inputs, and one at least; got inputs of shape "
            f"{tuple(inputs.shape)} and targets of shape {tuple(targets.shape)}."
        )


def _tensors(module: nn.Module) -> Params:
    """Parameters and buffers by name; what is tied has one name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """A module in evaluation mode, and afterwards as before."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _classes(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """The classes with the highest scores; None where targets are no classes."""
    if targets.is_floating_point() or outputs.dim() != targets.dim() + 1:
        return None
    if outputs.shape[:-1] == targets.shape:
        return outputs.argmax(-1)
    by_class = outputs.shape[:1] + outputs.shape[2:]
    return outputs.argmax(1) if by_class == targets.shape else None


def stack(trees: Sequence[Any]) -> Any:
    """Pytrees of one structure as one pytree with a new leading axis."""
    return _pytree.tree_map(lambda *leaves: torch.stack(leaves), trees[0], *trees[1:])


def draw_batches(task: Task, generators: Sequence[torch.Generator], count: int) -> Iterator[Batch]:
    """`count` training batches of several networks, stacked on a leading axis.

    They are what `task.batch` gives, with fewer calls where its code is known.

    Args:
        task: The task of all networks.
        generators: One of each network.
        count: How many batches each of them gets.
    """
    is_known = getattr(task.batch, "__func__", None) is ModuleTask.batch
    if not (isinstance(task, ModuleTask) and is_known):
        for _ in range(count):
            yield stack([task.batch(generator) for generator in generators])
        return
    for begin in range(0, count, _DRAWS_AT_ONCE):
        steps = min(_DRAWS_AT_ONCE, count - begin)
        drawn = torch.stack([task._places(task.data, steps, g) for g in generators], 1)
        for places in drawn:
            yield tuple(part[places] for part in task.data)
