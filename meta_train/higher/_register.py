"""The same unroll through `higher`: a bridge for its users, and the slow reference in tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nfn_optim import NFNOptimizer, NFNRule

from ..tasks import Batch, ModuleTask, Params


def register_higher() -> None:
    """Makes `higher.innerloop_ctx` take an `NFNOptimizer`.

    Gradients reach `optimizer.rule`, whose parameters have to ask for them first.

    Raises:
        ImportError: If `higher` is not installed.

    Example:
        >>> register_higher()  # doctest: +SKIP
        >>> optimizer.rule.requires_grad_()  # doctest: +SKIP
        >>> with higher.innerloop_ctx(model, optimizer) as (fmodel, diffopt):  # doctest: +SKIP
        ...     for x, y in batches:
        ...         diffopt.step(loss_fn(fmodel(x), y))
    """
    try:
        import higher
    except ImportError as error:
        raise ImportError(
            "higher is not installed. Install it with pip install 'nfn-optim[higher]'."
        ) from error
    from ._optimizer import DifferentiableNFN

    higher.register_optim(NFNOptimizer, DifferentiableNFN)


def unroll_higher(
    rule: NFNRule, task: ModuleTask, params: Params, batches: Sequence[Batch]
) -> Tensor:
    """Training losses `(k, n)` as of `unroll(..., first_order=False)`, one network after another.

    Args:
        rule: The update rule.
        task: The task.
        params: Networks stacked on a leading axis, `(n, *stored)` by name.
        batches: Batches stacked likewise, one a step.
    """
    import higher

    register_higher()
    losses = []
    model = task.build()
    optimizer = NFNOptimizer(model, checkpoint=rule)
    for i in range(len(next(iter(params.values())))):
        model.load_state_dict({name: p[i] for name, p in params.items()})
        with higher.innerloop_ctx(model, optimizer) as (fmodel, diffopt):
            for inputs, targets in batches:
                loss = task.loss_fn(fmodel(inputs[i]), targets[i])
                losses.append(loss)
                diffopt.step(loss)
    return torch.stack(losses).view(-1, len(batches)).T  # (n, k) -> (k, n)
