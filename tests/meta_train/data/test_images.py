import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor

from meta_train.data import Dataset, _sources, load_data
from nfn_optim.cache import cache_folder

Arrays = dict[str, np.ndarray]
SHAPES = {
    "mnist": (28, 28),
    "fashion_mnist": (28, 28),
    "cifar10": (3, 32, 32),
    "svhn": (3, 32, 32),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, and a cache beside it, both empty."""
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("NFN_DATA", str(data))
    monkeypatch.delenv("NFN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return data


@pytest.fixture
def openml(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[int]]:
    """Puts an answer in OpenML's place; the list it returns fills with the ids asked for."""

    def answer_with(answer: Any) -> list[int]:
        asked: list[int] = []

        def fetch(*, data_id: int, **_: Any) -> Any:
            asked.append(data_id)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
        return asked

    return answer_with


@pytest.fixture(autouse=True)
def no_network(openml: Callable[[Any], list[int]]) -> None:
    openml(URLError("no network"))


def make_arrays(name: str = "mnist", n: int = 20) -> Arrays:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2 * n, *SHAPES[name]), dtype=np.uint8)
    labels = (np.arange(2 * n) % 10).astype(np.uint8)
    return {
        "x_train": images[:n],
        "y_train": labels[:n],
        "x_test": images[n:],
        "y_test": labels[n:],
    }


def assert_well_formed(data: Dataset, image: tuple[int, ...]) -> None:
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.shape == (len(y), *image)
        assert 0 <= x.min() < x.max() <= 1
        assert set(y.tolist()) == set(range(10))


def rows(x: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


def test_digits_are_whole_stratified_and_split_the_same_every_time() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits")
    assert_well_formed(data, (1, 8, 8))
    assert len(data.x_train) == 1437
    assert data.x_train.max() == data.x_test.max() == 1
    everything = torch.from_numpy(load_digits().images).float() / 16
    assert rows(data.x_train) | rows(data.x_test) == rows(everything)
    assert data.y_test.bincount().min() >= 34
    assert data.y_test[:12].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3, 2, 6]


@pytest.mark.parametrize("name", SHAPES)
def test_a_file_is_read_exactly(folder: Path, name: str) -> None:
    arrays = make_arrays(name)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    data = load_data(name)
    assert_well_formed(data, ((1, 28, 28) if len(SHAPES[name]) == 2 else SHAPES[name]))
    for key, array in arrays.items():
        tensor = getattr(data, key)
        stored = tensor if key.startswith("y") else tensor.mul(255).round().reshape(array.shape)
        np.testing.assert_array_equal(stored.numpy(), array)


def test_data_is_read_once(folder: Path) -> None:
    np.savez_compressed(folder / "mnist.npz", **make_arrays())
    assert load_data("mnist") is load_data("mnist")
    assert load_data("digits") is load_data("digits")


def test_the_chosen_folder_comes_before_the_cache(folder: Path) -> None:
    cache = folder.parent / "cache" / "nfn_optim"
    cache.mkdir(parents=True)
    np.savez_compressed(cache / "mnist.npz", **make_arrays(n=30))
    assert len(load_data("mnist").x_train) == 30
    np.savez_compressed(folder / "mnist.npz", **make_arrays(n=20))
    assert len(load_data("mnist").x_train) == 20


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'minst'.*digits, mnist, fashion_mnist, cifar10, svhn"):
        load_data("minst")


def test_without_a_network_the_error_says_where_the_file_goes(folder: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_data("cifar10")
    message = str(caught.value)
    for part in (str(folder / "cifar10.npz"), "NFN_DATA", "x_train", "(n, 3, 32, 32)", "uint8"):
        assert part in message
    assert not (folder.parent / "cache").exists()


@pytest.mark.parametrize("kept", [0, 100, -40], ids=["empty", "head", "all but the tail"])
def test_a_truncated_file_is_named(folder: Path, kept: int) -> None:
    path = folder / "mnist.npz"
    np.savez_compressed(path, **make_arrays())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="truncated") as caught:
        load_data("mnist")
    assert str(path) in str(caught.value)
    assert "delete it so that the data is downloaded" in str(caught.value)


def test_a_damaged_file_of_the_cache_is_downloaded_again(
    folder: Path, openml: Callable[[Any], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_sources.SOURCES, "svhn", replace(_sources.SOURCES["svhn"], num_train=300))
    kept = cache_folder() / "svhn.npz"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"svhn.npz is truncated.*NFN_CACHE"):
        load_data("svhn")  # without a network
    labels = np.array([str(i % 10 + 1) for i in range(320)], dtype=object)
    openml((smooth_images(320).reshape(320, -1), labels))
    assert len(load_data("svhn").x_train) == 300


def test_a_cache_that_cannot_be_written_is_named_before_the_download(folder: Path) -> None:
    cache_folder().parent.mkdir(parents=True)
    cache_folder().write_text("a file where the folder would be")
    with pytest.raises(OSError, match=r"nfn_optim cannot be written in.*NFN_CACHE"):
        load_data("svhn")


def test_a_damaged_file_is_named(folder: Path) -> None:
    path = folder / "mnist.npz"
    np.savez_compressed(path, **make_arrays())
    content = bytearray(path.read_bytes())
    content[500:600] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged") as caught:
        load_data("mnist")
    assert str(path) in str(caught.value)


def without(key: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {k: a for k, a in arrays.items() if k != key}


def replaced(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {k: change(a) if k == key else a for k, a in arrays.items()}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without("y_test"), "has no array y_test"),
        (replaced("x_train", lambda a: a / 255), "images are float64 and labels uint8"),
        (replaced("y_test", lambda a: a.astype(np.int64)), "images are uint8 and labels int64"),
        (replaced("x_test", lambda a: a[:, :, 1:]), "images have the shape (20, 28, 27)"),
        (replaced("x_train", lambda a: a[:0]), "labels have the shape (20,) beside 0 images"),
        (replaced("y_train", lambda a: a[1:]), "labels have the shape (19,) beside 20 images"),
        (replaced("y_train", lambda a: a[:, None]), "labels have the shape (20, 1)"),
        (replaced("y_test", lambda a: a + 1), "labels go up to 10"),
        (replaced("x_test", lambda a: a.astype(object)), "is damaged"),
    ],
)
def test_a_wrong_layout_is_explained(
    folder: Path, change: Callable[[Arrays], Arrays], problem: str
) -> None:
    np.savez_compressed(folder / "mnist.npz", **change(make_arrays()))
    with pytest.raises(ValueError, match=r"mnist\.npz") as caught:
        load_data("mnist")
    assert problem in str(caught.value)
    assert "of the shape (n, 28, 28)" in str(caught.value)


def smooth_images(n: int) -> np.ndarray:
    """Colour images whose neighboring pixels are alike but whose channels are not."""
    y, x = np.mgrid[:32, :32]
    planes = np.stack([x + y, 200 - x, 100 + y % 7])
    return (planes + np.arange(n)[:, None, None, None] % 8).astype(np.uint8)  # (n, 3, h, w)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1)], ids=["planes", "pixels"])
def test_a_download_lands_in_the_cache(
    folder: Path,
    openml: Callable[[Any], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    order: tuple[int, ...],
) -> None:
    monkeypatch.delenv("NFN_DATA")
    monkeypatch.setitem(_sources.SOURCES, "svhn", replace(_sources.SOURCES["svhn"], num_train=300))
    images = smooth_images(320)
    flat = images.transpose(order).reshape(len(images), -1)
    labels = np.array([str(i % 10 + 1) for i in range(len(images))], dtype=object)
    asked = openml((flat, labels))
    data = load_data("svhn")
    assert asked == [41081]
    assert len(data.x_train) == 300
    assert_well_formed(data, (3, 32, 32))
    np.testing.assert_array_equal(data.x_test.mul(255).round().byte().numpy(), images[300:])
    assert data.y_train[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert os.listdir(folder.parent / "cache" / "nfn_optim") == ["svhn.npz"]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_data_has_its_official_size(name: str) -> None:
    path = Path(os.environ.get("NFN_DATA") or "absent") / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"$NFN_DATA/{name}.npz is not there")
    data = load_data(name)
    assert_well_formed(data, (1, 28, 28))
    assert len(data.x_train) == 60_000
    assert len(data.x_test) == 10_000
