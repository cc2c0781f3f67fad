"""Finished pieces of long computations on disk, found again by what they depend on."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

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
    if path.exists():
        with suppress(SafetensorError):  # damaged: make it again
            return load_file(path)
    tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    save_file(tensors, temporary)
    os.replace(temporary, path)
    return tensors


def _code_of(make: Callable[[], dict[str, Tensor]]) -> list[str]:
    if not isinstance(make, partial):
        return code_of(make)
    return code_of(make.func, *(value for value in make.args if not callable(value)))
