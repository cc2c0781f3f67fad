"""A task without a module, as a module that optimizers can train."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...tasks import Batch, Params, Task


class TaskNetwork(nn.Module):
    """The tensors of one network, under their names; called with a batch, it returns the loss.

    Args:
        task: Gives the loss.
        tensors: What `task.init` returned.

    Attributes:
        spec: The task's, which cannot be read off this module.
    """

    def __init__(self, task: Task, tensors: Params) -> None:
        super().__init__()
        self.task, self.spec = task, task.spec
        for name, tensor in tensors.items():
            # Registering would refuse dots, and names that are attributes of this class.
            if name in task.carried:
                self._buffers[name] = tensor.detach().clone()
            else:
                self._parameters[name] = nn.Parameter(tensor.detach().clone())

    def tensors(self) -> Params:
        """Parameters and buffers by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def forward(self, batch: Batch) -> Tensor:
        """The loss; what it changes of what the network carries is kept."""
        given = self.tensors()
        loss = self.task.loss(given, batch)
        with torch.no_grad():
            for name, kept in self.named_buffers():
                if given[name] is not kept:
                    kept.copy_(given[name])
        return loss
