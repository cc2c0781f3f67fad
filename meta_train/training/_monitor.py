"""What a meta-training run shows and records while it goes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from torch import Tensor

from ..support import Work
from ._journal import Journal
from ._tracking import Tracker
from ._trainer import MetaTrainer
from ._trial import OUTER_STEPS, VALIDATIONS

_WINDOW = 200  # outer steps that the mean meta-loss is of
_LOG_EVERY = 10
_FEW = 5  # estimates that are left out without a word
_SHARE = 0.05  # of all estimates, likewise


class Monitor:
    """Shows and records how a run goes.

    Args:
        trainer: The run.
        work: What is shown; the run is planned in it.
        say: Shows a line.
        journal: Records everything; None records nothing.
        trackers: Record every tenth step and every meta-validation.
    """

    def __init__(
        self,
        trainer: MetaTrainer,
        work: Work,
        say: Callable[[str], None],
        journal: Journal | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self.trainer, self.work, self.say = trainer, work, say
        self.journal, self.trackers = journal, trackers
        self.recent: deque[float] = deque(maxlen=_WINDOW)
        self._told = trainer.skipped
        self._held_out = ""
        work.begin(OUTER_STEPS)

    def step(self, loss: float) -> None:
        """After an outer step."""
        trainer, config = self.trainer, self.trainer.config
        self.recent.append(loss)
        self.work.tell(OUTER_STEPS, trainer.step, now="", last=self._last())
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

    def validating(self) -> None:
        """Before a meta-validation."""
        self.work.begin(VALIDATIONS)

    def validated(self, losses: Tensor) -> None:
        """After a meta-validation."""
        assert self.trainer.best is not None
        step, score, (best, best_step) = self.trainer.step, float(losses.mean()), self.trainer.best
        self._held_out = f"held-out {score:.3f}, best {best:.3f}"
        done = self.work.stages[VALIDATIONS].done + 1
        self.work.tell(VALIDATIONS, done, last=self._last())
        self.work.begin(OUTER_STEPS)
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

    def _last(self) -> str:
        """The last figures."""
        loss = f"meta-loss {_mean(self.recent):.3f}" if self.recent else ""
        return ", ".join(filter(None, (loss, self._held_out)))

    def _record(self, entry: dict[str, object]) -> None:
        if self.journal is not None:
            self.journal.add({"outer_step": self.trainer.step, **entry})

    def _warn(self) -> None:
        """Tells of estimates that were left out, when they have doubled since the last time."""
        skipped = self.trainer.skipped
        often = skipped >= _SHARE * self.trainer.num_estimates
        if often and skipped >= max(_FEW, 2 * self._told):
            self._told = skipped
            self.say(f"warning: {left_out(self.trainer)}")


def left_out(trainer: MetaTrainer) -> str:
    """How many estimates were left out, and what to do about it."""
    skipped, among = trainer.skipped, trainer.num_estimates
    return (
        f"{skipped} of {among} estimates ({skipped / among:.0%}) had no finite meta-gradient and "
        "were left out. Look for tasks whose loss is not finite, or try a smaller --lr or --clip."
    )


def _mean(losses: Sequence[float] | deque[float]) -> float:
    """Mean over the outer steps that used a run; the others have no meta-loss."""
    known = [loss for loss in losses if not math.isnan(loss)]
    return sum(known) / len(known) if known else math.nan
