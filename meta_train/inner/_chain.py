"""Finds the losses that native code has: of modules that are a chain of known layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import torch.nn.functional as F
from torch import nn

from nfn_optim.native.chain import Chain
from nfn_optim.native.population import Layer

from ..tasks import ModuleTask

# As `Activation` of `population/layer.h` counts them.
_ACTIVATIONS = {nn.ReLU: 1, nn.Tanh: 2, nn.GELU: 4, nn.SiLU: 5, nn.Sigmoid: 6}
_LOSSES = ((F.cross_entropy, True), (F.mse_loss, False))  # whether targets are classes
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def chain_of(loss: Any) -> Chain | None:
    """The chain that a task's loss is computed by; None where it may be anything else.

    It is known of `ModuleTask`s whose module is made of `nn.Sequential`, `nn.Linear` and
    activations as torch has them, and whose loss is `F.cross_entropy` or `F.mse_loss`.

    Args:
        loss: A task's method.
    """
    task = getattr(loss, "__self__", None)
    if not isinstance(task, ModuleTask) or getattr(loss, "__func__", None) is not ModuleTask.loss:
        return None
    has_classes = next((has for fn, has in _LOSSES if fn is task.loss_fn), None)
    if task.carried or has_classes is None:
        return None
    shape = tuple(task.data[0].shape[1:])
    size = prod(shape) if len(shape) == 1 else None  # a linear layer reads the last axis alone
    layers: list[Layer] = []
    names: list[tuple[str, str | None]] = []
    for name, part in _parts(task.module):
        if type(part) is nn.Linear and part.in_features == size:
            size = part.out_features
            layers.append(_linear(part))
            names.append((name + "weight", None if part.bias is None else name + "bias"))
        elif type(part) is nn.Flatten and (part.start_dim, part.end_dim) == (1, -1):
            size = size or prod(shape)
        elif type(part) is not nn.Identity:
            if not layers or (more := _followed(layers[-1], part)) is None:
                return None
            layers[-1] = more
    stored = {name: tuple(p.shape) for name, p in task.module.named_parameters()}
    known = [name for pair in names for name in pair if name is not None]
    if not layers or known != list(stored):  # a layer that appears twice has one name
        return None
    return Chain(tuple(layers), tuple(names), stored, shape, has_classes)


def _parts(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested `nn.Sequential`s, one after another, and what their names begin with.

    One that does more than its class says comes as a plain `nn.Module`, which nobody knows.
    """
    if "forward" in vars(module) or any(getattr(module, hooks) for hooks in _HOOKS):
        yield name, nn.Module()
    elif type(module) is nn.Sequential:
        for child, part in module._modules.items():
            assert part is not None
            yield from _parts(part, f"{name}{child}.")
    else:
        yield name, module


def _linear(part: nn.Linear) -> Layer:
    return Layer(part.in_features, 1, 1, 1, 1, 1, 0, part.out_features, 0, 0, 0, 0)


def _followed(layer: Layer, part: nn.Module) -> Layer | None:
    """A layer with what comes after its sum; None if native code does not know it."""
    is_exact = not isinstance(part, nn.GELU) or part.approximate == "none"
    if layer.activation or type(part) not in _ACTIVATIONS or not is_exact:
        return None
    return replace(layer, activation=_ACTIVATIONS[type(part)])
