"""Finished pieces of long computations on disk, found again by what they depend on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from nfn_optim.files import write_whole

from ._code import code_of
from ._fingerprint import fingerprint


def remember(
    folder: Path | None, kind: str, key: object, make: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Makes an artefact once and reads it back after that.

    It is found by its key, by the code that makes it and by the version of torch: a change of any
    of them makes a new one.

    Args:
        folder: Where artefacts are kept; None keeps none.
        kind: Name of the computation, and of its subfolder.
        key: All values that the artefact depends on; functions among them count with their code.
        make: The computation: a function, or a partial of one. What is bound to it tells which code
            runs, but for functions, so that it may tell its progress to anyone.
    """
    if folder is None:
        return make()
    name = fingerprint(torch.__version__, key, _code_of(make))
    path = folder / kind / f"{name}.safetensors"
    with suppress(SafetensorError, OSError):  # not there, damaged or not readable: make it
        return load_file(path)
    tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    keep(path, serialize(tensors))
    return tensors


def keep(path: Path, content: bytes) -> None:
    """Writes a file of a cache; where that cannot be done, it is warned of once a folder."""
    try:
        write_whole(path, content)
    except OSError as error:
        _warn(path.parent, error.strerror or str(error))


@lru_cache
def _warn(folder: Path, reason: str) -> None:
    warnings.warn(
        f"{folder} keeps nothing ({reason}), so it is computed again the next time. Free some "
        "space there, or name another folder: NFN_CACHE does that for what is not in --out.",
        stacklevel=3,
    )


def _code_of(make: Callable[[], dict[str, Tensor]]) -> list[str]:
    if not isinstance(make, partial):
        return code_of(make)
    return code_of(make.func, *(value for value in make.args if not callable(value)))
