"""Finished pieces of long computations on disk, found again by what they depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nfn_optim.cache import user_cache

from ._fingerprint import bytes_of

_VERSION = 2  # of the protocols: raise it when equal inputs give other artefacts


def cache_folder() -> Path:
    """Where artefacts are kept by default: `$NFN_CACHE`, else `zoo` in the user's cache folder."""
    chosen = os.environ.get("NFN_CACHE")
    return Path(chosen) if chosen else user_cache() / "zoo"


def remember(
    folder: Path | None,
    kind: str,
    settings: Mapping[str, Any],
    data: Sequence[Tensor],
    make: Callable[[], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Makes an artefact once and reads it back after that.

    Args:
        folder: Where artefacts are kept; None keeps none.
        kind: Name of the computation, and of its subfolder.
        settings: JSON values the artefact depends on.
        data: Tensors it depends on.
        make: The computation.
    """
    if folder is None:
        return make()
    path = folder / kind / f"{artefact_key(settings, data)}.safetensors"
    if path.exists():
        with suppress(SafetensorError):  # damaged: make it again
            return load_file(path)
    tensors = {name: tensor.contiguous() for name, tensor in make().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    save_file(tensors, temporary)
    os.replace(temporary, path)
    return tensors


def artefact_key(settings: Mapping[str, Any], data: Sequence[Tensor]) -> str:
    """Hash of everything an artefact depends on."""
    digest = hashlib.sha256()
    described = {"version": _VERSION, "torch": torch.__version__, **settings}
    digest.update(json.dumps(described, sort_keys=True).encode())
    for tensor in data:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()[:32]
