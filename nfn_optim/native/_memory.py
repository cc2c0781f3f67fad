"""What malloc does with the memory of large tables that were freed."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h calls them
_LARGEST_PIECE, _KEPT = 32 << 20, 256 << 20  # bytes that malloc keeps, and keeps at its end


@cache
def keep_memory() -> None:
    """Lets glibc's malloc keep what large tables leave behind, for the whole process.

    Otherwise it gives all memory back to the system that is free at its end from 64 MB on, and to
    get it anew takes a quarter of the time of a layer on packs. Other systems, and settings of the
    user's own in `MALLOC_*` or `GLIBC_TUNABLES`, are left as they are.
    """
    if platform.libc_ver()[0] == "glibc" and not _is_set():
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_PIECE)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def _is_set() -> bool:
    names = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_"
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name in os.environ for name in names)
