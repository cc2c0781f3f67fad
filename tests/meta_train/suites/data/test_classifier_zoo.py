"""Zoos from folders: what their labels must be, and how networks are split."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from meta_train import run_suite
from meta_train.suites.data import _classifier_zoo
from meta_train.suites.data._classifier_zoo import read_zoo, split_networks
from meta_train.zoo import Zoo, save_zoo

from ..conftest import zoo_of


def test_checkpoints_of_a_run_stay_together() -> None:
    runs = torch.arange(40).repeat(3)
    parts = split_networks(zoo_of(120, network=runs), 0.2, 0.1)
    members = [set(part.labels["network"].tolist()) for part in parts]
    assert [len(m) for m in members] == [29, 3, 8]
    assert [len(part) for part in parts] == [87, 9, 24]
    assert set.union(*members) == set(range(40))


def test_a_given_split_is_kept() -> None:
    zoo = zoo_of(6, split=torch.tensor([0, 1, 2, 2, 0, 1]))
    zoo = Zoo(zoo.features, zoo.labels, {"split": ("train", "validation", "test")})
    parts = split_networks(zoo, 0.2, 0.1)
    expected = [[0, 4], [1, 5], [2, 3]]
    for part, rows in zip(parts, expected, strict=True):
        assert torch.equal(part.labels["test_accuracy"], zoo.labels["test_accuracy"][rows])


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="0 are for validation.*at least 2.*Train more"):
        split_networks(zoo_of(2), 0.2, 0.1)


def test_networks_without_accuracies_are_refused(tmp_path: Path) -> None:
    zoo = zoo_of(9)
    save_zoo(Zoo(zoo.features, {"loss": torch.zeros(9)}), tmp_path)
    with pytest.raises(ValueError, match=r"no label 'test_accuracy', only \['loss'\]"):
        run_suite("cnn-generalization", data=tmp_path, size="tiny")


def test_published_networks_are_split_as_a_file_beside_them_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = []

    def read(folder: Path, *, order: Path | None) -> Zoo:
        orders.append(order)
        return zoo_of(3)

    monkeypatch.setattr(_classifier_zoo, "read_small_cnn_zoo", read)
    read_zoo(tmp_path)
    beside = tmp_path / f"{tmp_path.name}_split.csv"
    beside.write_text("0\n1\n2\n")
    read_zoo(tmp_path)
    assert orders == [None, beside]


ONES = torch.ones(9)


@pytest.mark.parametrize(
    ("labels", "categories", "message"),
    [
        ({"test_accuracy": 97 * ONES}, {}, "goes from 97 to 97.*divide those in percent"),
        ({"test_accuracy": ONES.log() / 0}, {}, "not within .0, 1.. Leave out"),
        ({"test_accuracy": ONES[:, None]}, {}, r"'test_accuracy'.*\(9, 1\), not \(9,\)"),
        ({"network": torch.ones(9, 2)}, {}, r"'network'.*\(9, 2\), not \(9,\)"),
        ({"split": torch.arange(9) % 3}, {}, "'split'.*train, validation, test; it has None"),
        ({"split": torch.arange(9) % 3}, {"split": ("train", "val", "test")}, "'val'"),
        ({"activation": torch.arange(9)}, {"activation": ("relu", "tanh")}, "0 to 8.*2 categories"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    labels: dict[str, Tensor], categories: dict[str, tuple[str, ...]], message: str, tmp_path: Path
) -> None:
    zoo = zoo_of(9)
    save_zoo(Zoo(zoo.features, {**zoo.labels, **labels}, categories), tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        read_zoo(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_parts_without_an_order_are_refused() -> None:
    split = {"split": ("train", "validation", "test")}
    zoo = zoo_of(6, split, split=torch.tensor([0, 1, 1, 2, 2, 0]))
    zoo.labels["test_accuracy"][1:3] = 0.5
    message = "2 are for validation, with 1 different accuracies; at least 2"
    with pytest.raises(ValueError, match=message):
        split_networks(zoo, 0.2, 0.1)
