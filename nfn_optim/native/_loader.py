"""Compiles native code once a machine, when it is first needed, and loads it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from ..cache import cache_folder
from ..files import write_whole

_NO_MEMORY = 1  # `border.h` knows the number
_CHECK = hashlib.sha256().digest_size  # bytes of the hash at the end of a kept file
_HEADERS = Path(str(files(__package__)))
_INSTRUCTIONS = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}
_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-shared", f"-I{_HEADERS}"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffinite-math-only"),
    "-fassociative-math",
)


class BuildError(RuntimeError):
    """Native code cannot be had."""


class TurnedOff(BuildError):
    """`$NFN_NATIVE=0` turns all native code off."""


class NoCompiler(BuildError):
    """There is no C++ compiler on this machine."""


class CompileFailed(BuildError):
    """There is a compiler, and it fails, or what it made cannot be loaded."""


class Library:
    """Native code of one source file, compiled when it is first used and then kept.

    It is kept in `$NFN_CACHE` (`~/.cache/nfn_optim` without) under a name that tells the source,
    the compiler, the flags and the processor's instructions apart. Where that folder cannot be
    written, it is compiled in every process. The compiler is `$CXX`, or `c++`; `$NFN_CXXFLAGS` are
    more options for it, such as those of a sanitizer.

    Args:
        source: The file; what else is in its folder may be included.
        definitions: Makes options that define macros.
        is_threaded: Whether it runs on several threads: where not, regions that ask for them cost
            nothing.
    """

    def __init__(
        self,
        source: Path,
        definitions: Callable[[], tuple[str, ...]] = tuple,
        *,
        is_threaded: bool = True,
    ) -> None:
        self.source, self.definitions, self.is_threaded = source, definitions, is_threaded

    def load(self) -> ctypes.CDLL:
        """The native code; compiles it (some seconds) where that was not done before.

        Raises:
            TurnedOff: If `$NFN_NATIVE` is 0.
            NoCompiler: If there is no compiler.
            CompileFailed: If it fails; with what it said.
        """
        if isinstance(self._outcome, BuildError):
            raise self._outcome
        return self._outcome

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function of the native code; errors as for `load`.

        Raises:
            MemoryError: If there is too little memory. What it writes to may be half written.
            RuntimeError: If it fails in another way, likewise.
        """
        outcome = getattr(self.load(), name)(*arguments)
        if outcome == _NO_MEMORY:
            raise MemoryError(
                f"there is too little memory for native code ({name}), and what it was writing may "
                "be half written. Go on from a checkpoint, with less in memory."
            )
        if outcome:
            raise RuntimeError(
                f"native code failed ({name}), and what it was writing may be half written. Go on "
                "from a checkpoint, without native code: NFN_NATIVE=0."
            )

    def can_load(self) -> bool:
        """Whether `load` works here; if it is the compiler that fails, it is warned of once."""
        return self._is_usable

    def status(self) -> str:
        """One line: compiled, turned off, no compiler, or what the compiler said first."""
        match self._outcome:
            case TurnedOff():
                return "turned off by NFN_NATIVE=0"
            case NoCompiler():
                return "no compiler"
            case CompileFailed() as error:
                return f"failed: {_first_error(str(error))}"
        return "compiled"

    @cached_property
    def _outcome(self) -> ctypes.CDLL | BuildError:
        try:
            threads = _threads() if self.is_threaded else ()
            options = (*_instructions(), *self.definitions(), *threads, *_more_options())
            return _build(self.source, options)
        except BuildError as error:
            return error

    @cached_property
    def _is_usable(self) -> bool:
        if isinstance(self._outcome, CompileFailed):
            warnings.warn(
                f"{self._outcome}\nPyTorch's operations do the same more slowly. Mend the compiler "
                "or name another one in $CXX; NFN_NATIVE=0 turns native code and this warning off.",
                stacklevel=2,
            )
        return not isinstance(self._outcome, BuildError)


def _build(source: Path, options: tuple[str, ...]) -> ctypes.CDLL:
    if os.environ.get("NFN_NATIVE") == "0":
        raise TurnedOff("native code is turned off by NFN_NATIVE=0. Unset it.")
    made_by = (platform.machine(), _compiler(), _FLAGS, options)
    digest = hashlib.sha256(repr(made_by).encode())
    for path in sorted([*source.parent.glob("*.[ch]*"), *_HEADERS.rglob("*.h")]):
        digest.update(path.read_bytes())
    target = cache_folder() / f"{source.stem}-{digest.hexdigest()[:16]}.so"
    if (kept := _read(target)) is not None:
        return kept
    try:
        return _made(source, (*_FLAGS, *options), target)
    except OSError as error:
        raise CompileFailed(
            f"native code cannot be loaded: {error}. $CXX names another compiler."
        ) from error


def _read(path: Path) -> ctypes.CDLL | None:
    """The code that is kept at a path; none if it is damaged, since loading it could crash."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[:-_CHECK]).digest() == content[-_CHECK:]:
            return ctypes.CDLL(str(path))
    except OSError:
        pass
    return None


def _made(source: Path, flags: tuple[str, ...], target: Path) -> ctypes.CDLL:
    """Compiles and loads; the code is kept, with a hash at its end, if its folder allows that."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / target.name
        _compile(source, flags, made)
        library, content = ctypes.CDLL(str(made)), made.read_bytes()
    try:
        write_whole(target, content + hashlib.sha256(content).digest())
    except OSError as error:
        warnings.warn(
            f"compiled code cannot be kept in {target.parent} ({error.strerror}), and is compiled "
            "anew in every process. NFN_CACHE names another folder for it.",
            stacklevel=2,
        )
    return library


def _compile(source: Path, flags: tuple[str, ...], target: Path) -> None:
    compiler = shutil.which(_compiler())
    if compiler is None:
        raise NoCompiler(
            "native code needs a C++ compiler, and there is no $CXX and no c++ on the PATH. "
            "Install one (Debian: g++)."
        )
    command = [compiler, str(source), *flags, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileFailed(
            f"{source.name} does not compile:\n{done.stderr}The command was {' '.join(command)}"
        )


def _compiler() -> str:
    return os.environ.get("CXX", "c++")


def _more_options() -> list[str]:
    return shlex.split(os.environ.get("NFN_CXXFLAGS", ""))


def _instructions() -> tuple[str, ...]:
    return _INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ())


def _threads() -> tuple[str, ...]:
    """OpenMP from the library that torch has loaded, so that both share their threads."""
    if sys.platform != "linux":
        return ()
    own = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    return (*map(str, own[:1]), "-fopenmp")


def _first_error(message: str) -> str:
    """The first line that says what is wrong, or else the first one."""
    lines = message.splitlines()
    return next((line for line in lines if "error:" in line), lines[0])
