"""The command `nfn-optim`: parses arguments, shows progress, writes files; others do the work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import tyro

from ._demo import demo
from ._evaluate import evaluate
from ._info import info
from ._suite import suite
from ._train import train, with_settings

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "suite": suite,
    "info": info,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's mistake ends it with one line and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS | {"train": with_settings(sys.argv[1:] if arguments is None else arguments)},
            prog="nfn-optim",
            description="Learned optimizers: try, evaluate and meta-train them.",
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except (ValueError, OSError) as error:
        print(f"nfn-optim: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("nfn-optim: interrupted", file=sys.stderr)
        sys.exit(130)
