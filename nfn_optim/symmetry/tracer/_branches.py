"""Code that branches on stand-ins is followed every way, so that what holds on each is known."""

from __future__ import annotations

import dis
from collections.abc import Callable, Hashable
from typing import Any

from torch.fx.proxy import TraceError

_MOST = 4  # branches in one forward, each of which doubles the ways through it
_MOST_WAYS = 8_000  # through all modules of a graph, which takes seconds


class Branches:
    """Answers the question whether a stand-in is true, another way each time the code runs."""

    def __init__(self) -> None:
        self._open: list[_Way] = []
        self._num_ways = 0

    def choose(self, question: Hashable) -> bool:
        """One answer, the same for the same question.

        Raises:
            TraceError: If there are too many branches.
        """
        way = self._open[-1]
        if question not in way.taken:
            if len(way.taken) == _MOST:
                raise TraceError(f"its forward branches on data more than {_MOST} times")
            at = len(way.taken)
            way.taken[question] = at < len(way.planned) and way.planned[at]
        return way.taken[question]

    def follow(self, call: Callable[[], Any], mark: Callable[[], Callable[[], None]]) -> list[Any]:
        """What the code returns on each way; ways on which it raises an error itself are left out.

        Args:
            call: Runs the code.
            mark: Called before it; gives what takes back all that the code did.

        Raises:
            Exception: Whatever the code raises on all ways, or what it cannot be followed for.
        """
        found: list[Any] = []
        error: Exception | None = None
        planned: list[bool] | None = []
        while planned is not None:
            self._num_ways += 1
            if self._num_ways > _MOST_WAYS:
                raise TraceError("there are too many ways through its branches")
            way = _Way(planned)
            self._open.append(way)
            undo = mark()
            try:
                found.append(call())
            except Exception as raised:  # whatever user code does when it meets a stand-in
                undo()
                if not way.taken or not _is_raised_by_code(raised):
                    raise
                error = raised
            finally:
                self._open.pop()
            planned = way.following()
        if error is not None and not found:
            raise error
        return found


class _Way:
    """One way through the code: the answers that are planned, and those that were given."""

    def __init__(self, planned: list[bool]) -> None:
        self.planned, self.taken = planned, dict[Hashable, bool]()

    def following(self) -> list[bool] | None:
        """The way after this one; None after the last."""
        taken = list(self.taken.values())
        while taken and taken[-1]:
            taken.pop()
        return [*taken[:-1], True] if taken else None


def _is_raised_by_code(error: Exception) -> bool:
    """Whether a `raise` or an `assert` outside of torch ended the code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or isinstance(error, TraceError):
        return False
    code = trace.tb_frame.f_code
    package = str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0]
    return package != "torch" and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
