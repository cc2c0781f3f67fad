import os
from pathlib import Path

import numpy as np
import pytest
import torch

from meta_train.data import (
    IMAGES,
    SERIES,
    SIGNALS,
    TABLES,
    TEXTS,
    load_data,
    load_series,
    load_signals,
    load_table,
    load_text,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder with the subfolders that loaders look into."""
    for name in ("tables", "text", "signals", "images"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("NFN_DATA", str(tmp_path))
    return tmp_path


def test_a_table_has_classes_or_numbers(folder: Path) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(folder / "tables/classes.npz", x=x, y=np.array([0, 1, 0], np.int32))
    np.savez(folder / "tables/numbers.npz", x=x, y=np.array([0, 1, 0], np.float32))
    assert load_table("classes").y.dtype == torch.int64
    assert load_table("numbers").y.dtype == torch.float32
    assert torch.equal(load_table("numbers").x, torch.from_numpy(x))


def test_a_text_is_its_symbols_in_the_order_of_its_codes(folder: Path) -> None:
    (folder / "text/greeting.txt").write_text("hola, ñandú\n", encoding="utf-8")
    text = load_text("greeting")
    assert "".join(text.symbols[code] for code in text.codes) == "hola, ñandú\n"
    assert list(text.symbols) == sorted(set("hola, ñandú\n"))


def test_spectrograms_and_series_come_time_first(folder: Path) -> None:
    labels = np.array([0, 1], np.uint8)
    levels = np.full((2, 4, 7), 255, np.uint8)
    np.savez(folder / "signals/s.npz", x_train=levels, y_train=labels, x_test=levels, y_test=labels)
    data = load_signals("s")
    assert data.x_train.shape == (2, 7, 4)
    assert data.x_train.max() == 1
    plain = {f"Plane/{k}_{p}": v for p in ("train", "test") for k, v in
             (("x", np.zeros((2, 9), np.float32)), ("y", labels))}  # fmt: skip
    np.savez(folder / "signals/ucr_small15.npz", **plain)
    assert load_signals("Plane").x_test.shape == (2, 9, 1)


def test_gaps_in_a_series_are_closed_by_straight_lines(folder: Path) -> None:
    series = np.array([1, np.nan, 3, 4, np.nan], np.float32)
    np.savez(folder / "signals/series_mixed.npz", monthly_sunspots=series)
    assert load_series("monthly_sunspots")[:, 0].tolist() == [1, 2, 3, 4, 4]


@pytest.mark.parametrize(
    ("load", "name", "file"),
    [
        (load_table, "c_adult", "tables/c_adult.npz"),
        (load_text, "names", "text/names.txt"),
        (load_signals, "ecg5000", "signals/ecg5000.npz"),
        (load_signals, "Adiac", "signals/ucr_small15.npz"),
        (load_series, "monthly_sunspots", "signals/series_mixed.npz"),
        (load_data, "usps", "images/usps.npz"),
    ],
)
def test_a_file_that_is_absent_is_named(folder: Path, load, name: str, file: str) -> None:
    with pytest.raises(FileNotFoundError, match="NFN_DATA") as caught:
        load(name)
    assert file in str(caught.value)


def test_a_wrong_layout_is_explained(folder: Path) -> None:
    np.savez(folder / "tables/odd.npz", x=np.zeros((3, 2)), y=np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"\(3, 2\) and y of the shape \(2, 1\)"):
        load_table("odd")
    np.savez(folder / "tables/other.npz", rows=np.zeros(3))
    with pytest.raises(ValueError, match="has arrays rows; a table has x and y"):
        load_table("other")
    (folder / "tables/no.npz").write_text("nothing")
    with pytest.raises(ValueError, match=r"no\.npz is truncated or no \.npz archive"):
        load_table("no")
    np.savez(folder / "signals/bare.npz", x_train=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="has no array y_train"):
        load_signals("bare")
    with pytest.raises(ValueError, match="no series 'sunspots'.*monthly_sunspots"):
        load_series("sunspots")


@pytest.mark.parametrize(
    ("load", "names"),
    [
        (load_data, (*IMAGES, "emnist_bymerge47", "hoda_farsi_digits", "pneumoniamnist")),
        (load_table, TABLES),
        (load_signals, SIGNALS),
        (load_series, SERIES),
        (load_text, TEXTS),
    ],
)
def test_the_real_files_are_read(load, names: tuple[str, ...]) -> None:
    folder = os.environ.get("NFN_DATA") or "absent"
    if not Path(folder, "images", "usps.npz").is_file():
        pytest.skip("$NFN_DATA has no images/usps.npz")
    for name in names:
        loaded = load(name)
        parts = [loaded] if isinstance(loaded, torch.Tensor) else vars(loaded).values()
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
        assert all(len(t) and (not t.is_floating_point() or t.isfinite().all()) for t in tensors)
