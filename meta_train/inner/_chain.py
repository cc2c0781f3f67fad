"""Finds the losses that native code has."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from nfn_optim.native.chain import Chain

from ..tasks import ModuleTask

_LOSSES = ((F.cross_entropy, True), (F.mse_loss, False))  # and whether targets are classes


def chain_of(loss: Any) -> Chain | None:
    """What native code computes a loss by; None where it may be anything else.

    It has the losses of `ModuleTask`s whose module is a chain of layers that it knows, and whose
    `loss_fn` is `F.cross_entropy` or `F.mse_loss`.

    Args:
        loss: A task's method.
    """
    task = getattr(loss, "__self__", None)
    if not isinstance(task, ModuleTask) or getattr(loss, "__func__", None) is not ModuleTask.loss:
        return None
    has_classes = next((has for fn, has in _LOSSES if fn is task.loss_fn), None)
    if has_classes is None or task.carried:
        return None
    return Chain.of(task.module, task.data[0].shape[1:], has_classes=has_classes)
