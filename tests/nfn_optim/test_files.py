"""Files are written whole or not at all, whoever writes at the same time."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from nfn_optim.files import write_whole


def test_threads_that_write_one_file_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, contents, written = tmp_path / "rule", [b"a" * 100, b"b" * 50], Barrier(2, timeout=5)
    replace = os.replace

    def after_both_are_written(source: Path, target: Path) -> None:
        written.wait()
        replace(source, target)

    monkeypatch.setattr(os, "replace", after_both_are_written)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda content: write_whole(path, content), contents))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    for name, write in (("plain", Path.write_bytes), ("whole", write_whole)):
        write(tmp_path / name, b"content")
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_a_failure_leaves_the_file_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rule"
    write_whole(path, b"before")

    def fail(source: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
