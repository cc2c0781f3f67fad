"""What a meta-training run shows and records while it goes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from rich import progress
from rich.console import Console
from rich.table import Column
from torch import Tensor

from ..support import duration, say
from ._forecast import Forecast
from ._journal import Journal
from ._tracking import Tracker
from ._trainer import MetaTrainer

_WINDOW = 200  # outer steps that the bar shows the mean of
_LOG_EVERY = 10
_FEW = 5  # estimates that are left out without a word
_SHARE = 0.05  # of all estimates, likewise

NO_FIELDS: dict[str, Any] = {"loss": "", "held_out": "", "seconds_left": None}  # of a new bar


class Monitor:
    """Shows and records how a run goes.

    Args:
        trainer: The run.
        bars: Where to show it.
        bar: Which bar.
        forecast: Says how long the run still takes.
        journal: Records everything; None records nothing.
        trackers: Record every tenth step and every meta-validation.
    """

    def __init__(
        self,
        trainer: MetaTrainer,
        bars: progress.Progress,
        bar: progress.TaskID,
        forecast: Forecast,
        journal: Journal | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.trainer, self.bars, self.bar, self.forecast = trainer, bars, bar, forecast
        self.journal, self.trackers = journal, trackers
        self.recent: deque[float] = deque(maxlen=_WINDOW)
        self._seconds, self._told = trainer.seconds, trainer.skipped
        bars.update(bar, description="", total=trainer.config.outer_steps)
        self._show(held_out="")

    def step(self, loss: float) -> None:
        """After an outer step."""
        trainer, config = self.trainer, self.trainer.config
        self.recent.append(loss)
        self.forecast.stepped(trainer.seconds - self._seconds)
        self._seconds = trainer.seconds
        self._show(loss=f"meta-loss {_mean(self.recent):.3f}")
        self._warn()
        metrics = {
            "outer_lr": config.outer.lr_at(trainer.step - 1, config.outer_steps),
            "skipped": float(trainer.skipped),
            "seconds": trainer.seconds,
        }
        self._record({"meta_loss": loss, **metrics, "skipped": trainer.skipped})
        if trainer.step % _LOG_EVERY == 0 or trainer.step == config.outer_steps:
            for tracker in self.trackers:
                mean = _mean(list(self.recent)[-_LOG_EVERY:])
                tracker.log({"meta_loss": mean, **metrics}, trainer.step)

    def validated(self, losses: Tensor, seconds: float) -> None:
        """After a meta-validation."""
        assert self.trainer.best is not None
        step, score, (best, best_step) = self.trainer.step, float(losses.mean()), self.trainer.best
        self.forecast.validated(seconds)
        self._show(held_out=f"held-out {score:.3f}, best {best:.3f}")
        self._record(
            {
                "validation": {
                    "meta_loss": score,
                    "best": best,
                    "best_outer_step": best_step,
                    "runs": losses.tolist(),
                }
            }
        )
        rows = [(step, index, loss) for index, loss in enumerate(losses.tolist())]
        for tracker in self.trackers:
            tracker.log({"validation/meta_loss": score, "validation/best": best}, step)
            tracker.table("validation/tasks", ("outer_step", "task", "meta_loss"), rows, step)

    def _show(self, **fields: Any) -> None:
        step, left = self.trainer.step, self.forecast.left(self.trainer.step)
        self.bars.update(self.bar, completed=step, seconds_left=left, **fields)

    def _record(self, entry: dict[str, object]) -> None:
        if self.journal is not None:
            self.journal.add({"outer_step": self.trainer.step, **entry})

    def _warn(self) -> None:
        """Tells of estimates that were left out, when they have doubled since the last time."""
        skipped = self.trainer.skipped
        often = skipped >= _SHARE * self.trainer.num_estimates
        if often and skipped >= max(_FEW, 2 * self._told):
            self._told = skipped
            say(self.bars.console, f"warning: {left_out(self.trainer)}")


def left_out(trainer: MetaTrainer) -> str:
    """How many estimates were left out, and what to do about it."""
    skipped, among = trainer.skipped, trainer.num_estimates
    return (
        f"{skipped} of {among} estimates ({skipped / among:.0%}) had no finite meta-gradient and "
        "were left out. Look for tasks whose loss is not finite, or try a smaller --lr or --clip."
    )


def outer_progress(*, is_shown: bool) -> progress.Progress:
    """The bar of the outer steps, with the meta-losses, on stderr; for 80 columns."""
    tight = Column(no_wrap=True)
    return progress.Progress(
        progress.TextColumn("{task.description}", table_column=tight),
        _Text(_steps),
        progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        _Text(_losses),
        _Text(_clock),
        console=Console(stderr=True),
        disable=not is_shown,
        expand=True,
    )


def outer_line(task: progress.Task) -> str:
    """The state of a run in one line, for where there is no terminal."""
    if task.total is None:
        return f"{task.description} ({duration(task.elapsed or 0)})"
    done = f"step {task.completed:,.0f} of {task.total:,.0f} ({task.percentage:.0f}%)"
    return ", ".join(filter(None, (done, _losses(task), _left(task))))


class _Text(progress.ProgressColumn):
    """A column of plain text.

    Args:
        text: What it says of a bar.
    """

    def __init__(self, text: Callable[[progress.Task], str]) -> None:
        super().__init__(Column(no_wrap=True))
        self.text = text

    def render(self, task: progress.Task) -> str:
        """The text, as rich asks for it."""
        return self.text(task)


def _steps(task: progress.Task) -> str:
    return "" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}"


def _losses(task: progress.Task) -> str:
    return ", ".join(filter(None, (task.fields["loss"], task.fields["held_out"])))


def _clock(task: progress.Task) -> str:
    seconds = task.fields["seconds_left"]
    return "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"


def _left(task: progress.Task) -> str:
    return f"{duration(task.fields['seconds_left'])} left"


def _mean(losses: Sequence[float] | deque[float]) -> float:
    """Mean over the outer steps that used a run; the others have no meta-loss."""
    known = [loss for loss in losses if not math.isnan(loss)]
    return sum(known) / len(known) if known else math.nan
