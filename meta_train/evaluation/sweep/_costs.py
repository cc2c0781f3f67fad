"""What a training step costs: seconds, and bytes held by tensors at the same time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ...support import seeded
from ..contenders import Contender
from ..field import EvaluationTask
from ._run import fit, make_optimizer, one_thread

_BLOCKS = 4
_STEPS = 5

Steps = Callable[[int], None]


def seconds_per_step(task: EvaluationTask, contenders: Sequence[Contender]) -> dict[str, float]:
    """Processor seconds of batch, forward, backward and update on one thread, by contender.

    The contenders take turns in short blocks, and the fastest block counts: a busy machine changes
    little. Those that raise an error are left out.
    """
    with seeded(0), one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = {c.name: steps for c in contenders if (steps := _starter(task, c))}
        best = dict.fromkeys(made, np.inf)
        for _ in range(_BLOCKS):
            for name, take in made.items():
                start = time.process_time()
                take(_STEPS)
                best[name] = min(best[name], (time.process_time() - start) / _STEPS)
    return best


def peak_bytes(task: EvaluationTask, contender: Contender) -> int | None:
    """Bytes of tensors alive at the same time in a step, beyond the weights; None if it raises.

    Counts what PyTorch's operations return: gradients, the optimizer's state, activations. Memory
    that native code takes and returns inside of one call is not seen.
    """
    with seeded(0), one_thread(), warnings.catch_warnings(), _LiveBytes() as live:
        warnings.simplefilter("ignore")
        take = _starter(task, contender)
        if take is None:
            return None
        live.peak = live.now()
        take(1)
        return live.peak


def _starter(task: EvaluationTask, contender: Contender) -> Steps | None:
    """Takes a number of steps of one run that has warmed up; None if the first ones raise."""
    problem = task.start(0)
    rate = min(contender.rates)

    def take(count: int) -> None:
        fit(problem, optimizer, np.full(count, np.nan))

    try:
        optimizer = make_optimizer(contender, problem.model, rate, task.num_steps)
        take(2)
    except Exception:  # the runs have told the reason
        return None
    return take


class _LiveBytes(TorchDispatchMode):
    """Counts the memory of tensors that operations return while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in _pytree.tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._held[StorageWeakRef(storage)] = storage.nbytes()
        self.peak = max(self.peak, self.now())
        return result

    def now(self) -> int:
        """Bytes alive."""
        self._held = {ref: size for ref, size in self._held.items() if not ref.expired()}
        return sum(self._held.values())
