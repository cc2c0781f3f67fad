"""The user's own model and data as a task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ...support import load_reference
from ._problem import Problem
from ._task import EvaluationTask


def users_task(reference: str, num_steps: int) -> EvaluationTask:
    """A task of the user's function `problem() -> (model, batches, loss)`.

    It is called anew for every run, with Python's, numpy's and torch's random numbers seeded.

    Args:
        reference: `module:function`.
        num_steps: Steps of a run.

    Raises:
        ValueError: If the function cannot be loaded.
    """
    load_reference(reference, "problem")
    return EvaluationTask(
        name=reference,
        problem=_Users(reference),
        num_steps=num_steps,
        packages=(reference.partition(":")[0],),
    )


@dataclass(frozen=True)
class _Users:
    """Calls the function where it is needed: in any process."""

    reference: str

    def __call__(self, generator: torch.Generator) -> Problem:
        made = load_reference(self.reference, "problem")()
        if not isinstance(made, Sequence) or len(made) != 3 or not isinstance(made[0], nn.Module):
            raise ValueError(
                f"problem {self.reference!r} must return (model, batches, loss): an nn.Module, an "
                "iterable of batches, and a function loss(model, batch) to a scalar. Got "
                f"{made!r:.80}."
            )
        model, batches, loss = made
        return Problem(self._copied(model), batches, loss)

    def _copied(self, model: nn.Module) -> nn.Module:
        """A model of this run alone: the function may return the same one every time."""
        try:
            return copy.deepcopy(model)
        except Exception as error:
            raise ValueError(
                f"the model of problem {self.reference!r} cannot be copied ({error}), and every "
                "optimizer needs one of its own. Return a model that copy.deepcopy takes: without "
                "hooks on files, locks, or tensors that were computed from others."
            ) from error
