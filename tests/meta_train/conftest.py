"""Data of meta-training in small, random, and where it is looked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meta_train.data import (
    CLASS_TABLES,
    IMAGES,
    REGRESSION_TABLES,
    SERIES,
    SIGNALS,
    TEXTS,
    _sources,
    file_of,
)


def labelled(random: np.random.Generator, x: Any, classes: int) -> dict[str, np.ndarray]:
    """Training and test samples, made by `x(n)`, and their labels."""
    labels = lambda n: (np.arange(n) % classes).astype(np.uint8)  # noqa: E731
    train, test = max(80, classes), max(40, classes)
    return {
        "x_train": x(train),
        "y_train": labels(train),
        "x_test": x(test),
        "y_test": labels(test),
    }


def write_arrays(folder: Path) -> None:
    """Every file of arrays that is for meta-training."""
    random = np.random.default_rng(0)
    files: dict[str, dict[str, np.ndarray]] = {}
    for name in IMAGES:
        source = _sources.SOURCES[name]
        images = lambda n, s=source: random.integers(0, 256, (n, *s.stored[-1]), dtype=np.uint8)  # noqa: E731
        files[file_of(name)] = labelled(random, images, source.classes)
    for name in CLASS_TABLES:
        y = (np.arange(200) % 3).astype(np.int32)
        files[file_of(name)] = {"x": random.normal(size=(200, 6)).astype(np.float32), "y": y}
    for name in REGRESSION_TABLES:
        x = random.normal(size=(200, 6)).astype(np.float32)
        files[file_of(name)] = {"x": x, "y": x[:, 0] ** 2}
    for name in SIGNALS:
        series = lambda n: random.normal(size=(n, 30)).astype(np.float32)  # noqa: E731
        arrays = labelled(random, series, 3)
        small = "small" in file_of(name)
        files.setdefault(file_of(name), {}).update(
            {f"{name}/{key}" if small else key: array for key, array in arrays.items()}
        )
    walks = {name: random.normal(size=(300, 2)).cumsum(0).astype(np.float32) for name in SERIES}
    files[file_of(SERIES[0])] = walks
    for name, arrays in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(folder / name, **arrays)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small stand-in for every file of meta-training, and with nothing else."""
    folder = tmp_path_factory.mktemp("data")
    write_arrays(folder)
    (folder / "text").mkdir()
    for name in TEXTS:
        (folder / file_of(name)).write_text("a small text of a few words\n" * 100)
    return folder


@pytest.fixture
def data_of_meta_training(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """That folder in place of the user's; there is no cache beside it."""
    monkeypatch.setenv("NFN_DATA", str(small_data))
    monkeypatch.setenv("NFN_CACHE", str(tmp_path))
    return small_data
