"""Files are written whole or not at all, and only those of the right kind are read."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from safetensors.torch import save_file

from nfn_optim.files import read_tensors, write_whole


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


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, r"not one written by save_rule\. Give one that is"),
        ({"format": "other", "version": "2"}, "not one written by save_rule"),
        ({"format": "rule", "version": "1"}, "has version '1' of rule; .* reads 2, 3"),
        ({"format": "rule"}, "has version None of rule"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, header: dict[str, str] | None, message: str
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(2)}, path, header)
    with pytest.raises(ValueError, match=message):
        read_tensors(path, "rule", ("2", "3"), "save_rule")


@pytest.mark.parametrize("kept", [0, 9, -1])
def test_a_damaged_file_is_named(tmp_path: Path, kept: int) -> None:
    path, header = tmp_path / "x.safetensors", {"format": "rule", "version": "2"}
    save_file({"x": torch.ones(2)}, path, header)
    found, tensors = read_tensors(path, "rule", ("2",), "save_rule")
    assert found == header
    assert torch.equal(tensors["x"], torch.ones(2))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="x.safetensors is truncated or no safetensors file"):
        read_tensors(path, "rule", ("2",), "save_rule")
