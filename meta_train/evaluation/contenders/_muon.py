"""Muon as it is used: it drives hidden matrices, convolutions among them, and AdamW the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

_MATRICES = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.MultiheadAttention)
_ADAMW_SHARE = 0.05  # of Muon's rate: .02 beside .001


class MuonWithAdamW(Optimizer):
    """`torch.optim.Muon` on all hidden matrices of a module and AdamW on its other parameters.

    Hidden are the weights of linear, convolutional, recurrent and attention layers but the last
    layer's. A convolution's weight is the matrix `(out, in * kernel)`.

    Args:
        module: What is trained.
        lr: Muon's rate; AdamW takes a twentieth of it.
        weight_decay: Of both.
    """

    def __init__(self, module: nn.Module, lr: float, weight_decay: float = 0.01) -> None:
        trained = [p for p in module.parameters() if p.requires_grad]
        super().__init__(trained, {})
        hidden = {id(p) for p in hidden_matrices(module)}
        sources = [p for p in trained if id(p) in hidden]
        others = [p for p in trained if id(p) not in hidden]
        self._matrices = [(p, nn.Parameter(p.detach().flatten(1))) for p in sources]
        views = [matrix for _, matrix in self._matrices]
        self._parts: list[Optimizer] = []
        if views:
            self._parts.append(Muon(views, lr=lr, weight_decay=weight_decay))
        if others:
            self._parts.append(AdamW(others, lr=_ADAMW_SHARE * lr, weight_decay=weight_decay))
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Updates all parameters from their gradients; a closure is not called."""
        for source, matrix in self._matrices:
            matrix.grad = None if source.grad is None else source.grad.flatten(1)
        for part in self._parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of the module's parameters."""
        for source, _ in self._matrices:
            source.grad = None
        for part in self._parts:
            part.zero_grad(set_to_none)


def hidden_matrices(module: nn.Module) -> list[Tensor]:
    """Trained weights with two axes or more of linear-like layers, without the last layer's."""
    layers = [m for m in module.modules() if isinstance(m, _MATRICES)]
    weights = [
        [p for p in layer.parameters(recurse=False) if p.dim() > 1 and p.requires_grad]
        for layer in layers
    ]
    return [p for of_layer in [w for w in weights if w][:-1] for p in of_layer]
