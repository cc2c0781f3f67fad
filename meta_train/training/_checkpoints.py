"""What a run has saved, and what it says about that in the end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ..inner import LostContact
from ..support import add_note
from ._trainer import MetaTrainer


class Checkpoints:
    """Writes the files of a run, and knows what is written.

    A disk that is full is told of and ends nothing: the next checkpoint tries again.

    Args:
        trainer: The run.
        out: The file of the rule.
        tell: Shows a line.
    """

    def __init__(self, trainer: MetaTrainer, out: Path, tell: Callable[[str], None]) -> None:
        self.trainer, self.out, self.tell = trainer, out, tell
        self.saved = trainer.step  # of the run that is resumed; 0 where nothing is saved
        self.failure: OSError | None = None
        self._command = "nfn-optim " + " ".join(sys.argv[1:])

    def save(self) -> None:
        """Writes the result, and what resumes the run; all processes take part."""
        if self._try(lambda: self.trainer.save(self.out, self._command)):
            self.saved = self.trainer.step

    def save_best(self) -> None:
        """Writes the result as the best in meta-validation."""
        self._try(lambda: self.trainer.save_best(self.out, self._command))

    def save_rest(self, error: BaseException) -> None:
        """Writes the steps that are not saved, after something was raised.

        Nothing is written where the processes, which would have to take part, are not together.
        """
        is_together = self.trainer.can_undo and not isinstance(error, LostContact)
        if isinstance(error, Exception) and is_together and self.trainer.step > self.saved:
            self.save()

    def explain(self, error: BaseException) -> None:
        """Adds to what ends the run what is saved, and how to go on."""
        if self.trainer.processes.is_first:
            add_note(error, self.closing())

    def closing(self) -> str:
        """What is saved, and how to go on."""
        step, total = self.trainer.step, self.trainer.config.outer_steps
        lost = "" if step <= self.saved else f" {step - self.saved} later steps are not saved."
        if not self.saved:
            return f"Nothing is saved in {self.out}.{lost}"
        how = "Go on with the same command and --resume."
        if step >= total and self.saved == step:
            how = "That is all of them."
        return f"Outer step {self.saved} of {total} is saved in {self.out}.{lost} {how}"

    def _try(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except LostContact:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            self.failure = OSError(f"{self.out} cannot be written: {reason}. Free some space.")
            self.tell(
                f"warning: {self.out} cannot be written at outer step {self.trainer.step}: "
                f"{reason}. Training goes on, and the next checkpoint tries again."
            )
            return False
        self.failure = None
        return True
