"""Tuned Adam against the learned optimizer, in the training loop that users write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from nfn_optim import NFNOptimizer

from ..evaluation import (
    ADAM,
    end_loss,
    find_tasks,
    loss_at,
    smoothed,
    steps_to,
    window,
)
from ..tasks import ModuleTask

TASK = "digits-64-32-10"
NUM_RATES = len(ADAM.rates)
STEPS = (50, 100, 200, 500)  # where losses are shown

OnStep = Callable[[], None]


@dataclass(frozen=True)
class Run:
    """One network trained with one optimizer.

    Attributes:
        optimizer: Its name.
        losses: Minibatch loss before each step, `(steps,)`.
        test_accuracy: Of the trained network.
        seconds: Spent training this network.
        tuning_seconds: Spent on all runs that tuned the optimizer, this one included.
        rate: Learning rate; None where none was chosen.
    """

    optimizer: str
    losses: np.ndarray = field(repr=False)
    test_accuracy: float
    seconds: float
    tuning_seconds: float
    rate: float | None = None

    @property
    def final_loss(self) -> float:
        """Mean of the last tenth of the minibatch losses."""
        return float(end_loss(self.losses))

    def summary(self, target: float) -> dict[str, float | str | None]:
        """The run's row of the table; `target` is the loss to reach."""
        shown = [k for k in STEPS if k <= len(self.losses)]
        losses = {f"loss_at_{k}": float(loss_at(self.losses, k)) for k in shown}
        steps = float(steps_to(self.losses, target))
        return {
            "optimizer": self.optimizer,
            "learning_rate": self.rate,
            **losses,
            "final_loss": self.final_loss,
            "test_accuracy": self.test_accuracy,
            "steps_to_adam_final_loss": steps if math.isfinite(steps) else None,
            "seconds": self.seconds,
            "seconds_tuning_included": self.tuning_seconds,
        }


def run_adam(num_steps: int, on_step: OnStep = lambda: None) -> Run:
    """Adam at the one of its learning rates that ends with the lowest training loss."""
    runs = [train("Adam", partial(_adam, rate), num_steps, on_step) for rate in ADAM.rates]
    seconds = sum(run.seconds for run in runs)
    best = min(range(len(runs)), key=lambda i: runs[i].final_loss)
    return replace(runs[best], tuning_seconds=seconds, rate=ADAM.rates[best])


def run_learned(checkpoint: str, num_steps: int, on_step: OnStep = lambda: None) -> Run:
    """The learned optimizer as it comes."""
    return train(
        "NFNOptimizer", lambda model: NFNOptimizer(model, checkpoint=checkpoint), num_steps, on_step
    )


def train(
    name: str, make_optimizer: Callable[[nn.Module], Optimizer], num_steps: int, on_step: OnStep
) -> Run:
    """Trains a digits classifier; initial weights and batches are the same for every optimizer."""
    task, generator = _task(), torch.Generator().manual_seed(0)
    model = task.build()
    model.load_state_dict(task.init(generator))
    optimizer = make_optimizer(model)
    losses, seconds = [], 0.0
    for _ in range(num_steps):
        start = time.perf_counter()
        inputs, labels = task.batch(generator)
        optimizer.zero_grad()
        loss = task.loss_fn(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        seconds += time.perf_counter() - start
        on_step()
    accuracy = float(task.evaluate(dict(model.named_parameters()))["test_accuracy"])
    return Run(name, np.array(losses), accuracy, seconds, seconds)


def plot(runs: tuple[Run, ...], path: Path) -> None:
    """Writes a picture of the runs' smoothed training losses."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for run in runs:
        label = run.optimizer if run.rate is None else f"{run.optimizer}, tuned (lr {run.rate:.2g})"
        steps = np.arange(window(len(run.losses)), len(run.losses) + 1)
        panel.semilogy(steps, smoothed(run.losses), label=label)
    panel.axhline(runs[0].final_loss, color="gray", linewidth=0.8, linestyle="--")
    panel.set_title(f"{TASK}: training loss, mean of {window(len(runs[0].losses))} batches")
    panel.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _adam(lr: float, model: nn.Module) -> Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


def _task() -> ModuleTask:
    build = find_tasks([TASK])[0].task
    assert build is not None
    task = build()
    assert isinstance(task, ModuleTask)
    return task
