import hashlib
import json
from pathlib import Path

import pytest
import torch

from meta_train.support._cache import _VERSION, artefact_key
from meta_train.tasks import load_data
from meta_train.zoo import FieldConfig, cache_folder, fit_sirens

SHORT = FieldConfig(hidden=(8,), num_steps=2)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def test_a_second_run_reads_what_the_first_made(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:210]
    _, first = fit_sirens(images, SHORT, cache=tmp_path)
    made = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    _, second = fit_sirens(images, SHORT, cache=tmp_path)
    assert len(made) == 2
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == made
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_goes_on_at_the_last_chunk(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:210]

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_sirens(images, SHORT, cache=tmp_path, on_progress=interrupt)
    kept = files(tmp_path)
    _, resumed = fit_sirens(images, SHORT, cache=tmp_path)
    _, straight = fit_sirens(images, SHORT)
    assert len(kept) == 1
    assert set(kept) < set(files(tmp_path))
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_what_changes_the_result_makes_a_new_artefact(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:2]
    fit_sirens(images, SHORT, cache=tmp_path)
    fit_sirens(images, SHORT, seed=1, cache=tmp_path)
    fit_sirens(images.flip(0), SHORT, cache=tmp_path)
    fit_sirens(images, FieldConfig(hidden=(8,), num_steps=3), cache=tmp_path)
    assert len(files(tmp_path)) == 4


def test_numbers_that_numpy_does_not_know_are_remembered(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:2].bfloat16()
    for _ in range(2):
        _, params = fit_sirens(images, SHORT, cache=tmp_path)
    _, other = fit_sirens(images.float(), SHORT, cache=tmp_path)
    assert len(files(tmp_path)) == 2
    assert torch.equal(params["0.weight"], fit_sirens(images, SHORT)[1]["0.weight"])
    torch.testing.assert_close(params, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 5)])
def test_names_are_hashes_of_the_bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    numbers = torch.full(shape, 7).mT.to(dtype) if len(shape) == 2 else torch.tensor(7, dtype=dtype)
    described = {"version": _VERSION, "torch": torch.__version__, "seed": 3}
    content = json.dumps(described, sort_keys=True).encode()
    content += f"{dtype} {tuple(numbers.shape)}".encode() + numbers.numpy().tobytes()
    expected = hashlib.sha256(content).hexdigest()[:32]
    assert artefact_key({"seed": 3}, [numbers]) == expected


def test_a_damaged_artefact_is_made_again(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:2]
    _, first = fit_sirens(images, SHORT, cache=tmp_path)
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:100])
    _, again = fit_sirens(images, SHORT, cache=tmp_path)
    assert torch.equal(first["0.weight"], again["0.weight"])


def test_the_default_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NFN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("NFN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder() == tmp_path / "user" / "nfn_optim" / "zoo"
