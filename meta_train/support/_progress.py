"""The type of callbacks that long work reports its progress to."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told how much of some work is done, and how much there is."""
