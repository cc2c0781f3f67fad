from pathlib import Path

import pytest

from nfn_optim.cache import cache_folder


def test_the_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NFN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("NFN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder() == tmp_path / "user" / "nfn_optim"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "nfn_optim"
