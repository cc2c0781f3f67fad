"""The files beside a rule: what killed processes left of them is found."""

import os
from pathlib import Path

import pytest

from meta_train.training._files import best_path, clear_temporary, resume_path
from nfn_optim.files import write_whole


def test_what_killed_writers_left_is_cleared_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "rule.safetensors", tmp_path / "another.safetensors"

    def end(*_: object, **__: object) -> None:
        raise OSError("as if the process were killed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", end)
        patch.setattr(Path, "unlink", end)
        for path in (out, resume_path(out), best_path(out), other):
            with pytest.raises(OSError, match="killed"):
                write_whole(path, b"half")
    assert len(list(tmp_path.iterdir())) == 4
    clear_temporary(out)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(other.name)
