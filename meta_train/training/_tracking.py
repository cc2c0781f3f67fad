"""Where curves and tables of a run go besides the progress bar: nowhere, or to wandb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

WandbMode = Literal["online", "offline", "disabled"]


class Tracker(Protocol):
    """Records numbers of a run."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One point of every curve."""
        ...

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """A table as it is at this step."""
        ...


class NoTracker:
    """Records nothing."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Does nothing."""

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """Does nothing."""


class WandbTracker:
    """Records into a wandb run.

    Args:
        run: What `wandb.init` gave.
    """

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One point of every curve."""
        self.run.log(dict(metrics), step=step)

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """A wandb table."""
        import wandb

        data = [list(row) for row in rows]
        self.run.log({name: wandb.Table(columns=list(columns), data=data)}, step=step)


@contextmanager
def tracking(
    mode: WandbMode, folder: Path, name: str, config: Mapping[str, Any]
) -> Iterator[Tracker]:
    """A tracker for the time of a run.

    Args:
        mode: Whether wandb sends what it records, keeps it in files, or is left out.
        folder: Where wandb puts its files.
        name: What the run is called.
        config: The run's settings.

    Raises:
        ValueError: If wandb is not installed, or does not start.
    """
    if mode == "disabled":
        yield NoTracker()
        return
    run = _start(mode, folder, name, config)
    try:
        yield WandbTracker(run)
    finally:
        run.finish()


def _start(mode: WandbMode, folder: Path, name: str, config: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ValueError(
            "wandb is not installed. Install it with pip install 'nfn-optim[wandb]', "
            "or leave --wandb out."
        ) from error
    settings = wandb.Settings(console="off", silent=True)
    try:
        return wandb.init(
            project="nfn-optim",
            name=name,
            mode=mode,
            dir=folder,
            config=dict(config),
            settings=settings,
        )
    except wandb.Error as error:
        raise ValueError(f"wandb does not start: {error}. Try --wandb offline.") from error
