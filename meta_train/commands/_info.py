"""The command `nfn-optim info`: versions and the card of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ..support import versions
from ._console import dumps, write_json


def info(*, checkpoint: str = "default", json: Path | None = None) -> None:
    """Prints versions and the card of a checkpoint.

    Args:
        checkpoint: A file written by `train`, or `default` for the weights in the package.
        json: Where to write the same.
    """
    from nfn_optim import read_card

    content = {"versions": versions(), "checkpoint": checkpoint, "card": read_card(checkpoint)}
    print(dumps(content))
    write_json(json, content)
