"""Malloc keeps freed memory, unless its user has set otherwise."""

import platform
from types import SimpleNamespace

import pytest

from nfn_optim.native import _memory


@pytest.fixture
def settings(monkeypatch) -> list[tuple[int, int]]:
    """What malloc is told, on a system with glibc and without settings of the user's own."""
    told: list[tuple[int, int]] = []
    libc = SimpleNamespace(mallopt=lambda *setting: told.append(setting))
    monkeypatch.setattr(_memory.ctypes, "CDLL", lambda _: libc)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    for name in ("TRIM_THRESHOLD_", "MMAP_THRESHOLD_", "TOP_PAD_"):
        monkeypatch.delenv(f"MALLOC_{name}", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return told


def keep_memory() -> None:
    """As for the first time in a process."""
    _memory.keep_memory.__wrapped__()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "100000"),
        ("MALLOC_MMAP_THRESHOLD_", "100000"),
        ("MALLOC_TOP_PAD_", "0"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=100000"),
    ],
)
def test_settings_of_the_user_are_left_as_they_are(settings, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    keep_memory()
    assert settings == []


def test_other_tunables_do_not_count(settings, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.rtld.nns=3")
    keep_memory()
    assert len(settings) == 2


def test_other_systems_are_left_as_they_are(settings, monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    keep_memory()
    assert settings == []
