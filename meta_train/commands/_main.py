"""The command `nfn-optim`: parses arguments, shows progress, writes files; others do the work."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial, wraps
from inspect import cleandoc
from io import StringIO
from typing import TextIO

import tyro
from rich.console import Console
from rich.text import Text

from nfn_optim import __version__

from ..support import Interrupted, command, in_packages, interruptible, notes_of, running
from ._console import prose
from ._demo import demo
from ._errors import explain
from ._evaluate import evaluate
from ._gate import gate
from ._info import info
from ._push import push
from ._race import race
from ._suite import suite
from ._train import train, with_settings
from ._zoo import zoo

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "race": race,
    "gate": gate,
    "suite": suite,
    "zoo": zoo,
    "info": info,
    "push": push,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Exit statuses: 0 where all went well; 1 where the user's code raised something, after its frames
    there; 2 after one line, where what was asked for is refused or a file cannot be read or
    written; 3 where `train` finished, and half of its estimates or more were not finite; 4 where
    `gate` says "do not ship"; 130 after Ctrl-C and 143 after SIGTERM, with what can be saved saved.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with running(given):
        _run(given)


def _run(given: Sequence[str]) -> None:
    try:
        with interruptible(), _own_warnings():
            if list(given) == ["--version"]:
                print(f"nfn-optim {__version__}")
            else:
                _parse(given or ["--help"])()
    except SystemExit as ended:
        _leave(int(ended.code or 0))
        raise
    except Exception as error:
        text, status = explain(error)
        prose(text, stderr=True)
        _leave(status)
    except KeyboardInterrupt as error:
        number = error.signal if isinstance(error, Interrupted) else signal.SIGINT
        notes = notes_of(error) or [f"Nothing new is kept. Start again with:\n  {command()}"]
        prose("\n".join(["nfn-optim: interrupted", *notes]), stderr=True)
        _leave(128 + number)
    else:
        _leave(0)


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Shows warnings of these packages in one line, and others as Python does."""
    before = warnings.formatwarning

    def one_line(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if in_packages(filename) and category is UserWarning:
            return f"nfn-optim: warning: {' '.join(str(message).split())}\n"
        return before(message, category, filename, lineno, line)

    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = before


def _leave(status: int) -> None:
    """Ends the command.

    One process of several ends without Python's clearing up: threads that talked to the others may
    still hold tensors then, and would abort it.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    if status:
        sys.exit(status)


def _parse(arguments: Sequence[str]) -> Callable[[], None]:
    """The command with its arguments, not run yet.

    Raises:
        ValueError: If a setting is out of range.
    """
    commands = COMMANDS | {"train": with_settings(arguments)}
    shown, usage = StringIO(), _Usage(sys.stdout)
    try:
        with redirect_stdout(usage), redirect_stderr(shown):
            parsed: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
                {name: _for_later(command) for name, command in commands.items()},
                prog="nfn-optim",
                description="Learned optimizers: try, evaluate and meta-train them. "
                "`nfn-optim --version` prints the version.",
                args=arguments,
                config=(
                    tyro.conf.CascadeSubcommandArgs,
                    tyro.conf.DisallowNone,
                ),
            )
    except SystemExit as ended:
        reason = _out_of_range(ended)
        if reason is not None:
            raise reason from None
        usage.show()
        print(shown.getvalue(), end="", file=sys.stderr)
        raise
    return parsed


class _Usage(StringIO):
    """Collects the text of `--help`, of which tyro wraps all but the first lines.

    Args:
        target: Where it is shown in the end.
    """

    def __init__(self, target: TextIO) -> None:
        super().__init__()
        self.target = target

    def isatty(self) -> bool:
        """Whether there may be colors."""
        return self.target.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Whether there may be boxes."""
        return self.target.encoding

    def show(self) -> None:
        """Prints it as wide as the terminal."""
        console = Console(file=self.target, width=shutil.get_terminal_size().columns)
        console.print(Text.from_ansi(self.getvalue()), end="")


def _for_later(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """What takes a command's arguments and gives the call."""

    @wraps(command)
    def call(*values: object, **options: object) -> Callable[[], None]:
        return partial(command, *values, **options)

    function = getattr(command, "func", command)  # of a partial
    text = re.sub(r"\n {8,}", " ", cleandoc(function.__doc__ or ""))  # breaks would be shown
    for each in (function, command, call):
        each.__doc__ = text
    return call


def _out_of_range(ended: SystemExit) -> ValueError | None:
    """What a group of settings raised, if tyro ended the program because of that.

    tyro shows such an error under a name that users have not written.
    """
    failure = ended.__context__
    if isinstance(getattr(failure, "arg", None), str) and failure is not None:
        return failure.__context__ if isinstance(failure.__context__, ValueError) else None
    return None
