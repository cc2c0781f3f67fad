"""What a meta-training run shows while it goes: the progress bar, and curves in a tracker."""

from __future__ import annotations

import math
from collections import deque

from rich import progress
from rich.console import Console
from torch import Tensor

from ._tracking import Tracker
from ._trainer import MetaTrainer

_WINDOW = 200  # outer steps that the bar shows the mean of
_LOG_EVERY = 10


class Monitor:
    """Shows and records how a run goes.

    Args:
        trainer: The run.
        bars: Where to show it.
        tracker: Where to record it.
    """

    def __init__(self, trainer: MetaTrainer, bars: progress.Progress, tracker: Tracker) -> None:
        self.trainer, self.bars, self.tracker = trainer, bars, tracker
        self.recent: deque[float] = deque(maxlen=_WINDOW)
        total, done = trainer.config.outer_steps, trainer.step
        self.bar = bars.add_task("meta-training", total=total, completed=done, loss="", held_out="")

    def step(self, loss: float) -> None:
        """After an outer step."""
        trainer, config = self.trainer, self.trainer.config
        self.recent.append(loss)
        mean = _mean(list(self.recent))
        self.bars.update(self.bar, completed=trainer.step, loss=f"meta-loss {mean:.3f}")
        if trainer.step % _LOG_EVERY == 0 or trainer.step == config.outer_steps:
            metrics = {
                "meta_loss": _mean(list(self.recent)[-_LOG_EVERY:]),
                "outer_lr": config.outer.lr_at(trainer.step - 1, config.outer_steps),
                "skipped": float(trainer.skipped),
                "seconds": trainer.seconds,
            }
            self.tracker.log(metrics, trainer.step)

    def validated(self, losses: Tensor) -> None:
        """After a meta-validation."""
        assert self.trainer.best is not None
        score, (best, _) = float(losses.mean()), self.trainer.best
        self.bars.update(self.bar, held_out=f"held-out {score:.3f} (best {best:.3f})")
        step = self.trainer.step
        self.tracker.log({"validation/meta_loss": score, "validation/best": best}, step)
        rows = [(step, index, loss) for index, loss in enumerate(losses.tolist())]
        self.tracker.table("validation/tasks", ("outer_step", "task", "meta_loss"), rows, step)


def outer_progress(*, is_shown: bool) -> progress.Progress:
    """The bar of the outer steps, with the meta-losses, on stderr."""
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[loss]}"),
        progress.TextColumn("{task.fields[held_out]}"),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not is_shown,
    )


def _mean(losses: list[float]) -> float:
    """Mean over the outer steps that used a run; the others have no meta-loss."""
    known = [loss for loss in losses if not math.isnan(loss)]
    return sum(known) / len(known) if known else math.nan
