"""Artefacts are made once, and again when what they depend on changes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from meta_train.support import Progress, remember
from meta_train.tasks import Params, load_data
from meta_train.zoo import FieldConfig, _fields, fit_sirens

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


def test_a_change_of_a_helper_makes_a_new_artefact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = load_data("digits").x_train[:2]
    _, before = fit_sirens(images, SHORT, cache=tmp_path)

    def one_point(count: int, config: FieldConfig, generator: torch.Generator) -> Iterator[Tensor]:
        return (torch.zeros(1, dtype=torch.int64) for _ in range(config.num_steps))

    with monkeypatch.context() as patch:
        patch.setattr(_fields, "_draw_points", one_point)
        _, after = fit_sirens(images, SHORT, cache=tmp_path)
    assert not torch.equal(before["0.weight"], after["0.weight"])
    assert len(files(tmp_path)) == 2


def test_code_that_makes_no_artefact_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = load_data("digits").x_train[:2]
    fit_sirens(images, SHORT, cache=tmp_path)
    monkeypatch.setattr(_fields, "_check", lambda coords, values: None)
    fit_sirens(images, SHORT, cache=tmp_path, on_progress=lambda done, total: None)
    fit_sirens(images, SHORT, cache=tmp_path, on_progress=print)
    assert len(files(tmp_path)) == 1


def test_of_what_is_bound_functions_may_change_and_classes_may_not(tmp_path: Path) -> None:
    class Double:
        def of(self, x: int) -> int:
            return 2 * x

    class Triple(Double):
        def of(self, x: int) -> int:
            return 3 * x

    def make(factor: Double, tell: Progress) -> Params:
        tell(1, 1)
        return {"made": torch.tensor(factor.of(7))}

    for factor, tell in ((Double(), print), (Double(), max), (Triple(), max)):
        made = remember(tmp_path, "factors", "seven", partial(make, factor, tell))["made"]
        assert made == factor.of(7)
    assert len(files(tmp_path)) == 2


def test_numbers_that_numpy_does_not_know_are_remembered(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:2].bfloat16()
    for _ in range(2):
        _, params = fit_sirens(images, SHORT, cache=tmp_path)
    _, other = fit_sirens(images.float(), SHORT, cache=tmp_path)
    assert len(files(tmp_path)) == 2
    assert torch.equal(params["0.weight"], fit_sirens(images, SHORT)[1]["0.weight"])
    torch.testing.assert_close(params, other)


def test_a_damaged_artefact_is_made_again(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:2]
    _, first = fit_sirens(images, SHORT, cache=tmp_path)
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:100])
    _, again = fit_sirens(images, SHORT, cache=tmp_path)
    assert torch.equal(first["0.weight"], again["0.weight"])


def test_what_cannot_be_kept_is_returned_and_warned_of_once(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:2]
    (tmp_path / "fields").write_text("a file where the folder would be")
    with pytest.warns(UserWarning, match="keeps nothing .* NFN_CACHE"):
        _, params = fit_sirens(images, SHORT, cache=tmp_path)
    _, again = fit_sirens(images, SHORT, cache=tmp_path)
    assert torch.equal(params["0.weight"], again["0.weight"])
