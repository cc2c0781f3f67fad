"""Data sets that OpenML has, kept in the user's cache as files like any other."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from nfn_optim.files import write_whole

from ._sources import KEYS, Source

ELSEWHERE = "NFN_CACHE may name another folder for data that is downloaded."


def download(name: str, source: Source, path: Path) -> None:
    """Fetches a data set and writes its file.

    Raises:
        ConnectionError: If it cannot be had: the reason, as a part of a sentence.
        OSError: If the file cannot be written.
    """
    from rich.console import Console
    from sklearn.datasets import fetch_openml

    if source.openml is None:
        raise ConnectionError("it is not on OpenML")
    _check_folder(path.parent)
    status = f"Downloading {name} from OpenML into {path} (once; some minutes)"
    try:
        with Console(stderr=True).status(status):
            rows, labels = fetch_openml(
                data_id=source.openml,
                as_frame=False,
                return_X_y=True,
                cache=False,
                parser="liac-arff",
            )
    except OSError as error:
        raise ConnectionError(f"OpenML cannot be reached ({error})") from error
    images = _unflatten(np.asarray(rows, dtype=np.uint8), source.image)
    digits = np.asarray(labels, dtype=np.int64) % source.classes  # SVHN calls the digit 0 class 10
    try:
        _save(path, images.reshape(-1, *source.stored[0]), digits, source.num_train)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}. {ELSEWHERE}") from error


def _check_folder(folder: Path) -> None:
    """Checks, before a download, that a folder can be made and written in."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise OSError(f"{there} cannot be written in, and data is to be kept there. {ELSEWHERE}")


def _unflatten(rows: np.ndarray, image: tuple[int, int, int]) -> np.ndarray:
    """Rows of pixels as images `(n, c, h, w)`.

    OpenML does not say whether the channels were flattened first or last. Neighboring pixels are
    alike, so the right order gives the smoother images.
    """
    channels, height, width = image
    first = rows.reshape(-1, channels, height, width)
    last = rows.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    return min(first, last, key=_roughness)


def _roughness(images: np.ndarray) -> float:
    """Mean step between horizontal neighbors, of a few hundred images."""
    return float(np.abs(np.diff(images[:256].astype(np.int16), axis=-1)).mean())


def _save(path: Path, images: np.ndarray, labels: np.ndarray, num_train: int) -> None:
    """Writes the file in one move, so that an interrupted download leaves none."""
    arrays = (images[:num_train], labels[:num_train], images[num_train:], labels[num_train:])
    contents: dict[str, Any] = {
        key: array.astype(np.uint8) for key, array in zip(KEYS, arrays, strict=True)
    }
    content = io.BytesIO()
    np.savez_compressed(content, **contents)
    write_whole(path, content.getvalue())
