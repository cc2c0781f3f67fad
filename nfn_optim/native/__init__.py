"""Native code: compiled once a machine, when it is first needed, and kept.

`$NFN_NATIVE=0` turns all of it off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from ..cache import cache_folder

_HEADERS = Path(str(files(__package__)))
_CAPABILITY = {
    "AVX512": (16, ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma")),
    "AVX2": (8, ("-mavx2", "-mfma")),
}
_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-shared", f"-I{_HEADERS}"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffinite-math-only"),
    "-fassociative-math",
)


class BuildError(RuntimeError):
    """Native code could not be compiled."""


def lanes() -> int:
    """Floats in a register of this processor, as `lanes.h` has it."""
    return _registers()[0]


@lru_cache(maxsize=1)
def _registers() -> tuple[int, tuple[str, ...]]:
    """Floats in a register, and the flags that make use of it."""
    return _CAPABILITY.get(torch.backends.cpu.get_cpu_capability(), (4, ()))


def build(source: Path, definitions: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compiles a file, unless that was done before (some seconds), and loads it.

    Kept in `nfn_optim.cache.cache_folder()` under a name that tells the source, the compiler, the
    flags and the processor's instructions apart. The compiler is `$CXX`, or `c++`.

    Args:
        source: The file; what else is in its folder may be included.
        definitions: Options that define macros.

    Raises:
        BuildError: If native code is turned off, there is no compiler, or it fails; with what it
            said.
    """
    if os.environ.get("NFN_NATIVE") == "0":
        raise BuildError("native code is turned off by NFN_NATIVE=0. Unset it.")
    options = (*_registers()[1], *definitions, *_threads())
    made_by = (platform.machine(), _compiler(), _FLAGS, options)
    digest = hashlib.sha256(repr(made_by).encode())
    for path in sorted([*source.parent.glob("*.[ch]*"), *_HEADERS.glob("*.h")]):
        digest.update(path.read_bytes())
    target = cache_folder() / f"{source.stem}-{digest.hexdigest()[:16]}.so"
    if not target.is_file():
        _compile(source, (*_FLAGS, *options), target)
    return ctypes.CDLL(str(target))


def loaders(
    source: Path, definitions: Callable[[], tuple[str, ...]] = tuple
) -> tuple[Callable[[], ctypes.CDLL], Callable[[], bool]]:
    """Functions `library` and `can_build` of a file; each does its work once a process.

    Args:
        source: The file, see `build`.
        definitions: Makes options that define macros.
    """

    @lru_cache(maxsize=1)
    def library() -> ctypes.CDLL:
        """The native code; compiles it where that was not done before.

        Raises:
            BuildError: If it cannot be compiled.
        """
        return build(source, definitions())

    @lru_cache(maxsize=1)
    def can_build() -> bool:
        """Whether `library()` works here."""
        try:
            library()
        except (RuntimeError, OSError):
            return False
        return True

    return library, can_build


def has_memory(tensor: Tensor) -> bool:
    """Whether a tensor is float32 numbers in this process's memory, and no subclass's."""
    plain = type(tensor) in (Tensor, nn.Parameter)
    return plain and tensor.dtype == torch.float32 and tensor.is_cpu


def address(numbers: array[int] | array[float]) -> ctypes.Array[ctypes.c_char]:
    """What ctypes passes as a pointer, and keeps alive meanwhile."""
    return (ctypes.c_char * (len(numbers) * numbers.itemsize)).from_buffer(numbers)


def _compile(source: Path, flags: tuple[str, ...], target: Path) -> None:
    compiler = shutil.which(_compiler())
    if compiler is None:
        raise BuildError(
            "native code needs a C++ compiler, and there is no $CXX and no c++ on the PATH. "
            "Install one (Debian: g++)."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [compiler, str(source), *flags, "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{' '.join(command)} failed:\n{done.stderr}")
        os.replace(made, target)


def _compiler() -> str:
    return os.environ.get("CXX", "c++")


def _threads() -> tuple[str, ...]:
    """OpenMP from the library that torch has loaded, so that both share their threads."""
    if sys.platform != "linux":
        return ()
    own = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    return (*map(str, own[:1]), "-fopenmp")
