"""Files that are written whole or not at all, and files that say what they hold."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move, with its folder: a failure leaves the file of before, and no more.

    What a killed process leaves is `path` with more letters and `.tmp`. Writers of one path do not
    meet: the last one counts.

    Raises:
        OSError: If it cannot be written, as on a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:  # tempfile would make it one's own to read
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_tensors(
    path: Path, form: str, versions: Collection[str], writer: str, name: str | Path = ""
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors of a safetensors file whose header has a format and its version.

    Args:
        path: The file.
        form: The format that it should have.
        versions: Those that can be read.
        writer: What writes such files, for errors.
        name: What the file is called in errors, where not by its path.

    Raises:
        ValueError: If it is damaged, or of another format or version.
    """
    name = name or path
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{name} is truncated or no safetensors file ({error}). Copy it again."
        ) from error
    if header.get("format") != form:
        raise ValueError(
            f"{name} is a safetensors file, but not one written by {writer}. Give one that is."
        )
    if header.get("version") not in versions:
        raise ValueError(
            f"{name} has version {header.get('version')!r} of {form}; what is installed reads "
            f"{', '.join(versions)}. Install the release that wrote it, or make it anew."
        )
    return header, tensors
