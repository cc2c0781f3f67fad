"""Pictures of suites can be read."""

from pathlib import Path

import matplotlib.image
import pytest
import torch

from meta_train.suites.harness import (
    plot_confusions,
    plot_images,
    plot_scatter,
    plot_values,
)
from meta_train.suites.harness._plots import confusion


def test_images_are_at_least_a_hundred_pixels_wide(tmp_path: Path) -> None:
    rows = {name: torch.rand(6, 1, 8, 8) for name in ("original", "target", "a\nerror 0.1234")}
    plot_images(rows, tmp_path / "a.png")
    height, width = matplotlib.image.imread(tmp_path / "a.png").shape[:2]
    assert min(height / 3, width / 6) >= 140


def test_a_confusion_is_the_part_of_each_true_class() -> None:
    found = confusion(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]), 3)
    assert found.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("count", [1, 4, 10])
def test_panels_of_many_methods_stand_in_lines(count: int, tmp_path: Path) -> None:
    columns = {f"method {index}: tau 0.5": torch.rand(20) for index in range(count)}
    plot_scatter(columns, torch.rand(20), "accuracy", tmp_path / "a.png")
    classes = {name: torch.randint(3, (20,)) for name in columns}
    plot_confusions(classes, torch.randint(3, (20,)), ["a", "b", "c"], tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert matplotlib.image.imread(tmp_path / name).shape[1] <= 1500


def test_predictions_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    plot_scatter({"np": torch.tensor([0.5, torch.nan])}, torch.rand(2), "a", tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_values_that_are_all_alike_can_be_drawn(tmp_path: Path) -> None:
    plot_values({"np": torch.ones(1), "pt": torch.ones(3)}, "accuracy", tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()
