"""Checks that end a run before it has cost anything: one look at the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from ..inner import Losses
from ..support import seeded, users_traceback
from ..tasks import Params, Task, TaskFamily, stack

_SEEDS = (0, 1, 2)
_MORE_SEEDS = range(3, 8)  # drawn only where the first seeds gave one task

_TURNS = (
    "networks of {task} take turns, because torch.func.vmap cannot train them at once: {obstacle}. "
    "The result is the same, and small networks take several times as long.{advice}"
)
_ADVICE = {
    "control flow": " Where the code branches on numbers in tensors, let torch.where choose.",
    ".item()": " Where the code reads a number out of a tensor, keep it a tensor.",
}
_SAME = (
    "the family draws the same task for every seed: an optimizer that is trained on it knows one "
    "problem. If that is not meant, let `sample` draw data and sizes from its generator."
)


def check_family(family: TaskFamily) -> list[str]:
    """Draws a few tasks and looks at each.

    Returns:
        What is no mistake, and yet worth a word.

    Raises:
        ValueError: If a task's networks, batches or losses are not decided by the generator, its
            loss is no finite scalar at the start, or does not depend on the parameters; or if it
            cannot be computed, and it is not the user's code that raises.
    """
    notes: list[str] = []
    drawn: list[Task] = []
    for seed in _SEEDS:
        with _explained("sample", family):
            task, twin = (family.sample(_seeded(seed)) for _ in range(2))
        drawn.append(task)
        with _explained("init", task):
            params = task.init(_seeded(seed))
            _check_same(params, task.init(_seeded(seed)), "initial parameters")
            _check_same(params, twin.init(_seeded(seed)), "initial parameters of equal tasks")
        with _explained("batch", task):
            batch = task.batch(_seeded(seed))
            _check_same(batch, task.batch(_seeded(seed)), "batches")
            _check_same(batch, twin.batch(_seeded(seed)), "batches of equal tasks")
        with _explained("loss", task, batch):
            loss = _loss(task, params, batch)
            _check_loss(loss)
            _check_repeats(loss, _loss(task, params, batch), _loss(twin, params, batch))
            notes += _turns(task, seed)
    more = (family.sample(_seeded(seed)) for seed in _MORE_SEEDS)
    if _are_same(drawn[0], drawn[1:]) and _are_same(drawn[0], more):
        notes.append(_SAME)
    return list(dict.fromkeys(notes))


def _check_loss(loss: Tensor) -> None:
    if loss.dim():
        raise ValueError(
            "a task's loss must be one scalar for one network; "
            f"got shape {tuple(loss.shape)}. Average it over the batch."
        )
    if not loss.isfinite():
        raise ValueError(
            f"a task's loss is {float(loss.detach())} at the start of training. "
            "Check the data and the initial parameters."
        )
    if float(loss.detach()) < 0:
        raise ValueError(
            f"a task's loss is negative ({float(loss.detach()):.4g}), and the meta-loss is its "
            "logarithm. Add a constant, so that the smallest possible loss is 0."
        )
    if not loss.requires_grad:
        raise ValueError(
            "a task's loss does not depend on the parameters it is given. "
            "Call the module with torch.func.functional_call(module, params, ...)."
        )


def _check_repeats(loss: Tensor, again: Tensor, of_twin: Tensor) -> None:
    """Losses of one network on one batch, under one seed of torch's global generator."""
    if not torch.equal(loss, again):
        raise ValueError(
            "a task's loss changes from call to call, with equal parameters and batches: it keeps "
            "something, a buffer perhaps, and the networks of a run would share that. Compute the "
            "loss from the parameters and the batch alone."
        )
    if not torch.equal(loss, of_twin):
        raise ValueError(
            "the losses of equal tasks differ, with equal parameters and batches: something in "
            "them, a buffer perhaps, is made of other random numbers than the generator's. Draw it "
            "from the generator that is passed."
        )


def _loss(task: Task, params: Params, batch: Any) -> Tensor:
    """The loss as the unroll computes it: random numbers of dropout and the like are seeded."""
    own = {n: p.detach().clone() for n, p in params.items()}
    points = {n: p if n in task.carried else p.requires_grad_() for n, p in own.items()}
    with seeded(0):
        return task.loss(points, batch)


def _turns(task: Task, seed: int) -> list[str]:
    """A note where the networks of a task cannot be trained at once."""
    generators = [_seeded(seed), _seeded(seed + 1)]
    params, batch = (stack([f(g) for g in generators]) for f in (task.init, task.batch))
    obstacle = Losses(task.loss, task.carried).tried(params, batch).obstacle
    if not obstacle:
        return []
    advice = next((text for sign, text in _ADVICE.items() if sign in obstacle), "")
    return [_TURNS.format(task=type(task).__name__, obstacle=obstacle, advice=advice)]


def _check_same(first: Any, second: Any, what: str) -> None:
    if not _equal(first, second):
        raise ValueError(
            f"{what} differ between generators of one seed. Draw all randomness from the "
            "generator that is passed, e.g. torch.randn(..., generator=generator)."
        )


def _are_same(first: Task, others: Iterable[Task]) -> bool:
    """Whether others have the same networks and batches as a first task."""

    def look(task: Task) -> Any:
        return task.init(_seeded(0)), task.batch(_seeded(0))

    known = look(first)
    return all(_equal(known, look(other)) for other in others)


def _equal(first: Any, second: Any) -> bool:
    (ones, structure), (others, other) = map(_pytree.tree_flatten, (first, second))
    return structure == other and all(
        torch.equal(one.nan_to_num(), another.nan_to_num())
        for one, another in zip(ones, others, strict=True)
        if isinstance(one, Tensor) and isinstance(another, Tensor)
    )


@contextmanager
def _explained(method: str, owner: object, batch: Any = None) -> Iterator[None]:
    """Says where something was raised, unless the user's code shows it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) or users_traceback(error):
            raise
        shown = "" if batch is None else f" The batch: {_shapes(batch)}."
        raise ValueError(
            f"`{method}` of a {type(owner).__name__} raises {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0]}.{shown}"
        ) from error


def _shapes(batch: Any) -> str:
    leaves = [leaf for leaf in _pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    return ", ".join(f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in leaves)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
