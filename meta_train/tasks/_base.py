"""What is trained: a task is one network's training problem, a family a distribution of tasks.

Authors write everything for *one* network and *one* batch; the library stacks and vmaps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree

from nfn_optim import NetworkSpec
from nfn_optim.rules import Params as Params

Batch = Any


class Task(ABC):
    """One training problem.

    Attributes:
        spec: The network's spec.
    """

    spec: NetworkSpec

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters of one network; equal generators give equal parameters."""

    @abstractmethod
    def batch(self, generator: torch.Generator) -> Batch:
        """One training batch: any pytree of tensors."""

    def validation_batch(self, generator: torch.Generator) -> Batch:
        """A batch that training does not see, for the meta-loss; by default a training batch."""
        return self.batch(generator)

    @abstractmethod
    def loss(self, params: Params, batch: Batch) -> Tensor:
        """Scalar training loss of one network on one batch."""

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

    Args:
        build: Makes a freshly initialised module.
        loss_fn: `(outputs, targets) -> scalar`, e.g. `F.cross_entropy`.
        data: Training inputs `(samples, ...)` and targets `(samples, ...)`.
        validation_data: Inputs and targets that only the meta-loss sees.
        test_data: Held-out inputs and integer targets, for `evaluate`.
        batch_size: Samples a batch, drawn with replacement.
        init_scale: Multiplies every initial weight with two axes or more.
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
        self.build, self.loss_fn, self.data = build, loss_fn, data
        self.validation_data = validation_data or data
        self.test_data, self.batch_size, self.init_scale = test_data, batch_size, init_scale
        self.module = build()
        self.spec = NetworkSpec.from_module(self.module)

    def init(self, generator: torch.Generator) -> Params:
        """Builds the module under the generator's seed."""
        seed = int(torch.randint(2**31, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.build()
        scale = {
            name: self.init_scale if p.dim() > 1 else 1.0 for name, p in module.named_parameters()
        }
        return {n: p.detach() * scale[n] for n, p in module.named_parameters()}

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
        """Accuracy on the held-out data, where there is any."""
        if self.test_data is None:
            return {}
        inputs, targets = self.test_data
        predicted = functional_call(self.module, params, (inputs,)).argmax(-1)
        return {"test_accuracy": (predicted == targets).to(inputs.dtype).mean()}

    def _draw(self, data: tuple[Tensor, Tensor], generator: torch.Generator) -> Batch:
        index = torch.randint(len(data[0]), (self.batch_size,), generator=generator)
        return data[0][index], data[1][index]


def stack(trees: Sequence[Any]) -> Any:
    """Pytrees of one structure as one pytree with a new leading axis."""
    return _pytree.tree_map(lambda *leaves: torch.stack(leaves), trees[0], *trees[1:])
