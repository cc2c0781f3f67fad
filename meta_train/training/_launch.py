"""Several processes on this machine that run one command together: `torchrun`, for one command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from tempfile import TemporaryFile
from types import FrameType
from typing import IO

import torch.distributed as dist

from ..estimators import GradientEstimator
from ..inner import InnerConfig, Processes
from ..support import ENDING, on_signals
from ._pool import sharing

_PATIENCE = 60.0  # seconds that the others have to end by themselves
_REFUSED = 2  # exit status where one process may have another reason than the first


def is_started(count: int) -> bool:
    """Whether `count` processes are there already: this one, or those of `launch` or `torchrun`.

    Raises:
        ValueError: If there are several, and not so many, or `count` is none.
    """
    if count < 1:
        raise ValueError(f"processes must be at least 1, got {count}.")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and count not in (1, size):
        raise ValueError(
            f"{size} processes were started, as by torchrun, and not {count}. Leave out "
            "--processes."
        )
    return count in (1, size)


def check_shares(estimator: GradientEstimator, inner: InnerConfig, count: int) -> None:
    """Checks that there is work for so many processes.

    Raises:
        ValueError: If there is not.
    """
    sharing(estimator, inner, Processes(0, count))


def launch(count: int, command: Sequence[str]) -> int:
    """Runs a command in `count` processes, which meet by `join`.

    Ctrl-C and signals that end this process are passed on to all of them. Where one ends in
    failure, the others end by themselves, or after a minute by force. The first shows its errors at
    once; those of the others are shown where they end otherwise.

    Returns:
        The exit status: 0 where all went well, else that of the process that failed first.
    """
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    common = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # all of them are clients of `store`
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    with ExitStack() as stack:
        errors = [stack.enter_context(TemporaryFile()) for _ in range(1, count)]
        stack.callback(_kill, children)
        with on_signals((signal.SIGINT, *ENDING), pass_on):
            for rank, file in enumerate((None, *errors)):
                children.append(_start(command, rank, common, file))
            ended = _wait(children)
        _show(children, errors)
    failed = [code for code in ended if code]
    return next((code for code in failed if code != _REFUSED), max(failed, default=0))


def _start(
    command: Sequence[str], rank: int, common: Mapping[str, str], errors: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    """One of the processes, in a session of its own: a terminal's Ctrl-C reaches it once, by us."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=errors,
        env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        start_new_session=True,
    )


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Exit statuses in the order in which the processes ended."""
    left, ended, deadline = list(children), [], float("inf")
    while left:
        for child in [child for child in left if child.poll() is not None]:
            left.remove(child)
            ended.append(_status(child))
            if ended[-1]:
                deadline = min(deadline, time.monotonic() + _PATIENCE)
        if time.monotonic() > deadline:
            _kill(left)
        time.sleep(0.05)
    return ended


def _status(child: subprocess.Popen[bytes]) -> int:
    """As a shell has it: of a process that a signal ended, 128 and more."""
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _show(children: Sequence[subprocess.Popen[bytes]], errors: Sequence[IO[bytes]]) -> None:
    """Writes what other processes than the first have to say of their ends."""
    first, *others = map(_status, children)
    texts = []
    for status, file in zip(others, errors, strict=True):
        if status and (status != first or status == _REFUSED):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    sys.stderr.write("".join(dict.fromkeys(texts)))


def _kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
        child.wait()
