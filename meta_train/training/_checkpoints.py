"""What a run has saved, and what it says about that in the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nfn_optim import save_rule

from ..inner import LostContact
from ..support import add_note, command
from ._files import best_path
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
        self.place = out  # of what is saved
        self.failure: OSError | None = None
        self._best: Callable[[], None] | None = None  # writes the best, where that is not done yet
        self._command = command()

    def save(self, *, is_last: bool = False) -> None:
        """Writes the result, and what resumes the run; all processes take part."""
        is_written = self._try(lambda: self.trainer.save(self.out, self._command), is_last)
        if self._best is not None:
            self._write_best(is_last)
        if not self.trainer.processes.any(not is_written):  # all agree on what is left to save
            self.saved = self.trainer.step

    def save_best(self) -> None:
        """Writes the result as the best in meta-validation; where it fails, `save` tries again."""
        if self.trainer.processes.is_first:
            result, card = self.trainer.result(), self.trainer.card(self._command)
            self._best = partial(save_rule, result, best_path(self.out), card)
            self._write_best()

    def save_rest(self, error: BaseException) -> None:
        """Writes the steps that are not saved, after something was raised.

        Nothing is written where the processes, which would have to take part, are not together.
        """
        is_together = isinstance(error, Exception) and not isinstance(error, LostContact)
        if is_together and self.trainer.step > self.saved:
            self.save(is_last=True)

    def explain(self, error: BaseException) -> None:
        """Adds to what ends the run what is saved, and how to go on."""
        if self.failure is not None and self.trainer.processes.size == 1:
            self._save_elsewhere()
        if self.trainer.processes.is_first:
            add_note(error, self.closing())

    def closing(self) -> str:
        """What is saved, and how to go on."""
        step, total, place = self.trainer.step, self.trainer.config.outer_steps, self.place
        told = [f"Outer step {self.saved} of {total} is saved in {place}."]
        if not self.saved:
            told = [f"Nothing is saved in {self.out}."]
        if step > self.saved:
            told.append(f"Later steps are not saved: {step - self.saved} of them.")
        if place != self.out:
            told.append(f"Move the files in {place.parent} to {self.out.parent}/.")
        if 0 < self.saved < total:
            again = command("--resume", without=("--overwrite",))
            told.append(f"Go on with:\n  {again}")
        return " ".join(told)

    def _save_elsewhere(self) -> None:
        """Writes the result into a folder for temporary files, where the disk of `out` is full."""
        place = Path(tempfile.mkdtemp(prefix="nfn-optim-")) / self.out.name
        try:
            self.trainer.save(place, self._command)
            self.saved, self.place = self.trainer.step, place
        except OSError:
            shutil.rmtree(place.parent, ignore_errors=True)

    def _write_best(self, is_last: bool = False) -> None:
        if self._best is not None and self._try(self._best, is_last):
            self._best = None

    def _try(self, write: Callable[[], None], is_last: bool = False) -> bool:
        try:
            write()
        except LostContact:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            self.failure = OSError(f"{self.out} cannot be written: {reason}. Free some space.")
            if not is_last:
                self.tell(
                    f"warning: {self.out} cannot be written at outer step {self.trainer.step}: "
                    f"{reason}. Training goes on, and the next checkpoint tries again."
                )
            return False
        self.failure = None
        return True
