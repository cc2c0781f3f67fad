"""Compiles the native step once a machine, and keeps it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import torch

from .. import _inputs, _polar
from .._nfn import NFNRule

SOURCE = Path(str(files(__package__)))
_ISA = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}
_FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-shared"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffinite-math-only"),
    "-fassociative-math",
)


class BuildError(RuntimeError):
    """The native step could not be compiled."""


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The native step, compiled if it has not been before (some seconds).

    Kept in `~/.cache/nfn_optim` under a name that tells the source, the flags and the processor's
    instructions apart. The compiler is `$CXX`, or `c++`.

    Raises:
        BuildError: If there is no compiler, or it fails; with what it said.
    """
    flags = (*_FLAGS, *_instructions(), *_definitions(), *_threads())
    digest = hashlib.sha256(repr((platform.machine(), flags)).encode())
    for path in sorted(SOURCE.glob("*.[ch]*")):
        digest.update(path.read_bytes())
    target = _folder() / f"step-{digest.hexdigest()[:16]}.so"
    if not target.is_file():
        _compile(SOURCE / "step.cpp", flags, target)
    return ctypes.CDLL(str(target))


@lru_cache(maxsize=1)
def can_build() -> bool:
    """Whether `library()` works here; tried once a process."""
    try:
        library()
    except (RuntimeError, OSError):
        return False
    return True


def _compile(source: Path, flags: tuple[str, ...], target: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise BuildError(
            "the native step needs a C++ compiler, and there is no $CXX and no c++ on the PATH. "
            "Install one (Debian: g++), or leave `fused` out."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [compiler, str(source), *flags, "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{' '.join(command)} failed:\n{done.stderr}")
        os.replace(made, target)


def _folder() -> Path:
    """Where compiled steps are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nfn_optim"


def _instructions() -> tuple[str, ...]:
    return _ISA.get(torch.backends.cpu.get_cpu_capability(), ())


def _threads() -> tuple[str, ...]:
    """OpenMP from the library that torch has loaded, so that both share their threads."""
    if sys.platform != "linux":
        return ()
    own = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*"))
    return (*map(str, own[:1]), "-fopenmp")


def _definitions() -> tuple[str, ...]:
    """The rule's constants, which the native step has no copies of."""
    numbers = {
        "NUM_DECAYS": len(_inputs.DECAYS),
        "NUM_TIMES": len(_inputs.TIMES),
        "ENTRY_CHANNELS": _inputs.ENTRY_CHANNELS,
        "CONTEXT_CHANNELS": _inputs.CONTEXT_CHANNELS,
        "SCHEDULE_CHANNELS": _inputs.SCHEDULE_CHANNELS,
        "SQUARE_DECAY": _inputs.SQUARE_DECAY,
        "TINY": _inputs.TINY,
        "CLIP": _inputs.CLIP,
        "LARGEST": _inputs.LARGEST,
        "LAST": _inputs.LAST,
        "WIDEST_LOG_FAN": _inputs.WIDEST_LOG_FAN,
        "BETA": NFNRule.BETA,
        "HORIZON": NFNRule.HORIZON,
        "LONGEST": NFNRule.LONGEST,
        "MAX_LOG_MAGNITUDE": NFNRule.MAX_LOG_MAGNITUDE,
    }
    lists = {
        "DECAYS": _inputs.DECAYS,
        "TIMES": _inputs.TIMES,
        "POLAR_COEFFICIENTS": _polar.COEFFICIENTS,
        "OBLONG": _polar.OBLONG,
        "SQUARE": _polar.SQUARE,
    }
    joined = {name: "{" + ",".join(map(str, values)) + "}" for name, values in lists.items()}
    return tuple(f"-DRULE_{name}={value}" for name, value in (numbers | joined).items())
