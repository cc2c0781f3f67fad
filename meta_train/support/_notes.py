"""What else there is to say about an exception, as `BaseException.add_note` of Python 3.11."""

from __future__ import annotations


def add_note(error: BaseException, note: str) -> None:
    """Adds a line to what is shown with an exception."""
    error.__notes__ = [*notes_of(error), note]


def notes_of(error: BaseException) -> list[str]:
    """What was added to an exception."""
    return list(getattr(error, "__notes__", ()))
