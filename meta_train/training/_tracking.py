"""Where curves and tables of a run go beside its journal: wandb, TensorBoard, both or nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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


class TensorBoardTracker:
    """Records files that TensorBoard shows.

    Args:
        writer: A `torch.utils.tensorboard.SummaryWriter`.
    """

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One point of every curve."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """A table in Markdown."""
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
        self.writer.add_text(name, text, step)


@contextmanager
def tracking(
    mode: WandbMode, tensorboard: Path | None, folder: Path, name: str, config: Mapping[str, Any]
) -> Iterator[list[Tracker]]:
    """Trackers for the time of a run.

    Args:
        mode: Whether wandb sends what it records, keeps it in files, or is left out.
        tensorboard: Folder of files for TensorBoard; None writes none.
        folder: Where wandb puts its files.
        name: What the run is called.
        config: The run's settings.

    Raises:
        ValueError: If what is asked for is not installed, or does not start.
    """
    with ExitStack() as ends:
        trackers: list[Tracker] = []
        if tensorboard is not None:
            writer = _start_tensorboard(tensorboard)
            ends.callback(writer.close)
            trackers.append(TensorBoardTracker(writer))
        if mode != "disabled":
            run = _start_wandb(mode, folder, name, config)
            ends.callback(run.finish)
            trackers.append(WandbTracker(run))
        yield trackers


def check_tracking(mode: WandbMode, tensorboard: bool) -> None:
    """Checks that what is asked for is installed.

    Raises:
        ValueError: If it is not.
    """
    if tensorboard:
        _summary_writer()
    if mode != "disabled":
        _wandb()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "TensorBoard is not installed. Install it with pip install 'nfn-optim[tensorboard]', "
            "or leave --tensorboard out."
        ) from error
    return SummaryWriter


def _start_tensorboard(folder: Path) -> Any:
    return _summary_writer()(str(folder))


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ValueError(
            "wandb is not installed. Install it with pip install 'nfn-optim[wandb]', "
            "or leave --wandb out."
        ) from error
    return wandb


def _start_wandb(mode: WandbMode, folder: Path, name: str, config: Mapping[str, Any]) -> Any:
    wandb = _wandb()
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
