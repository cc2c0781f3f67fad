"""What a command says of an exception: the user's frames, or one line."""

from __future__ import annotations

import errno
import traceback

from ..support import notes_of, users_traceback

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
USERS, MISTAKE = 1, 2  # exit statuses: something was raised; we refuse what was asked for


def explain(error: Exception) -> tuple[str, int]:
    """The text for an exception, and the exit status.

    What passed through the user's code is shown with its frames there and no others, whatever its
    type; what we refuse is one line. Anything else is a mistake of ours, and shown whole.
    """
    shown = _users(error)
    if not shown and isinstance(error, (ValueError, OSError)):
        return _with_notes(f"nfn-optim: error: {_flat(str(error))}{_hint(error)}", error), MISTAKE
    before = shown or "".join(traceback.format_exception(error))
    return _with_notes(f"{before}nfn-optim: error: {_named(error)}", error), USERS


def _users(error: BaseException) -> str:
    """The user's frames of an exception and of what caused it; empty where there are none."""
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error)[:-1])  # file, line and code
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    first = _users(cause) if cause is not None else ""
    if first and cause is not None:
        first += f"{_named(cause)}\n\nThen:\n"
    own = users_traceback(error)
    return f"{first}Traceback (most recent call last), your code only:\n{own}" if own else first


def _hint(error: Exception) -> str:
    """Where to look when a disk refuses; the system names no file."""
    if isinstance(error, OSError) and error.errno in _DISK and error.filename is None:
        return (
            ". Free some space where --out, --json and NFN_CACHE are, or name other places there."
        )
    return ""


def _with_notes(text: str, error: BaseException) -> str:
    return "\n".join([text, *notes_of(error)])


def _named(error: BaseException) -> str:
    text = _flat(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _flat(text: str) -> str:
    return " ".join(text.split())
