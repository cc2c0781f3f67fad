"""The command `nfn-optim info`: versions, native code and the card of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ..support import clean, versions
from ._console import dumps, write_json


def info(*, checkpoint: str = "default", json: Path | None = None) -> None:
    """Prints versions, the state of native code, and the card of a checkpoint.

    Native code that was not compiled before is compiled for it, in some seconds.

    Args:
        checkpoint: A file written by `train`, a name (`default`, `small`, `untrained`), or
            `hf://owner/name` on the Hugging Face Hub.
        json: Where to write the same.
    """
    from nfn_optim import read_card
    from nfn_optim.native import chain, convolution, packed, population, step, taped

    parts = (step, taped, chain, convolution, population, packed)
    native = {part.__name__.rpartition(".")[2]: part.LIBRARY.status() for part in parts}
    content = {
        "versions": versions(),
        "native code": native,
        "checkpoint": checkpoint,
        "card": clean(read_card(checkpoint)),
    }
    shown = clean(content)  # limits may be infinite
    print(dumps(shown))
    write_json(json, shown)
