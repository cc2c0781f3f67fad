"""The command `nfn-optim`: parses arguments, shows progress, writes files; others do the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial, wraps
from io import StringIO

import tyro
from torch import distributed

from ._demo import demo
from ._evaluate import evaluate
from ._info import info
from ._race import race
from ._suite import suite
from ._train import train, with_settings

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "race": race,
    "suite": suite,
    "info": info,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's mistake ends it with one line and exit status 2."""
    try:
        _parse(sys.argv[1:] if arguments is None else arguments)()
    except (ValueError, OSError) as error:
        print(f"nfn-optim: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("nfn-optim: interrupted", file=sys.stderr)
        _leave(130)


def _leave(status: int) -> None:
    """Ends the process; what waits for other processes would abort an orderly end."""
    if distributed.is_available() and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _parse(arguments: Sequence[str]) -> Callable[[], None]:
    """The command with its arguments, not run yet.

    Raises:
        ValueError: If a setting is out of range.
    """
    commands = COMMANDS | {"train": with_settings(arguments)}
    shown = StringIO()
    try:
        with redirect_stderr(shown):
            parsed: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
                {name: _for_later(command) for name, command in commands.items()},
                prog="nfn-optim",
                description="Learned optimizers: try, evaluate and meta-train them.",
                args=arguments,
                config=(
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.CascadeSubcommandArgs,
                    tyro.conf.DisallowNone,
                ),
            )
    except SystemExit as ended:
        reason = _out_of_range(ended)
        if reason is not None:
            raise reason from None
        print(shown.getvalue(), end="", file=sys.stderr)
        raise
    return parsed


def _for_later(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """What takes a command's arguments and gives the call."""

    @wraps(command)
    def call(*values: object, **options: object) -> Callable[[], None]:
        return partial(command, *values, **options)

    return call


def _out_of_range(ended: SystemExit) -> ValueError | None:
    """What a group of settings raised, if tyro ended the program because of that.

    tyro shows such an error under a name that users have not written.
    """
    failure = ended.__context__
    if isinstance(getattr(failure, "arg", None), str) and failure is not None:
        return failure.__context__ if isinstance(failure.__context__, ValueError) else None
    return None
