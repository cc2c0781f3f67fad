"""Where data files are looked for, and how their arrays are read."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from nfn_optim.cache import cache_folder


def folders() -> list[Path]:
    """`$NFN_DATA`, then the cache of what was downloaded."""
    chosen = os.environ.get("NFN_DATA")
    return [Path(chosen), cache_folder()] if chosen else [cache_folder()]


def find_file(name: str) -> Path | None:
    """The first of the folders' files of this name."""
    return next((path for f in folders() if (path := f / name).is_file()), None)


def data_file(name: str) -> Path:
    """Where a data file is.

    Raises:
        FileNotFoundError: If it is in none of the folders.
    """
    path = find_file(name)
    if path is None:
        chosen = os.environ.get("NFN_DATA")
        where = f"NFN_DATA is {chosen}, which has no such file" if chosen else "NFN_DATA is not set"
        raise FileNotFoundError(
            f"the data file {name} is not on this machine: {where}. Point NFN_DATA to the folder "
            "that contains it, or choose tasks without it, such as "
            "meta_train.tasks:default_family, which needs no files."
        )
    return path


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file.

    Raises:
        ValueError: If the file is damaged.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is truncated or no .npz archive. Replace the file.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}). Replace the file.") from error
