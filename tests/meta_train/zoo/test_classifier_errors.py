"""What a zoo of classifiers refuses, and what it warns of."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from meta_train.tasks import Dataset, load_data
from meta_train.zoo import ClassifierConfig, small_cnn, train_classifiers
from meta_train.zoo._training import warn_of_rare_classes

SHORT = ClassifierConfig(checkpoints=(0, 2), num_evaluated=50)


def build_mlp(activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), activation(), nn.Linear(16, 10))


def test_a_zoo_without_networks_is_no_zoo() -> None:
    config = ClassifierConfig(checkpoints=(30,), lr=(1e10, 1e10), optimizers=("sgd",))
    with pytest.raises(ValueError, match="all 4 networks diverged. Lower .* lr"):
        train_classifiers(build_mlp, load_data("digits"), 4, config)


def with_rare_class(num_rare: int) -> Dataset:
    y = torch.arange(400) % 9
    y[:num_rare] = 9
    x = torch.rand(400, 1, 8, 8)
    return Dataset(x, y, x[:200], y[:200])


def test_a_rare_class_that_leaves_few_samples_to_measure_on_is_told_once() -> None:
    config = replace(SHORT, train_fractions=(1.0,), num_evaluated=100)
    message = (
        r"10 train samples instead of 400 \(class 9 has 1\) and 10 test samples instead of 100 "
        r"\(class 9 has 1\)"
    )
    with pytest.warns(UserWarning, match=message) as warned:
        train_classifiers(build_mlp, with_rare_class(1), 100, config)
    assert [one.filename for one in warned] == [__file__]


def test_enough_samples_to_measure_on_are_no_reason_to_warn() -> None:
    config = replace(SHORT, train_fractions=(1.0,), num_evaluated=100)
    train_classifiers(build_mlp, with_rare_class(10), 2, config)  # 100 of 400


@pytest.mark.parametrize("num_evaluated", [1, 5, 50, 500, 5_000])
def test_digits_have_no_rare_class(num_evaluated: int) -> None:
    config = ClassifierConfig(num_evaluated=num_evaluated, num_train_evaluated=num_evaluated)
    for seed in range(20):
        warn_of_rare_classes(load_data("digits").shuffled(seed), config)


def images(classes: int, size: int = 8) -> Dataset:
    x, y = torch.rand(classes, 1, size, size), torch.arange(classes)
    return Dataset(x, y, x, y)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.rand(6, 1, 8, 8), torch.arange(5), r"y_P .*\(5,\).* each of the 6 images of x_P"),
        (torch.rand(6, 1, 8, 8), torch.arange(7), r"y_P .*\(7,\).* each of the 6 images of x_P"),
        (torch.rand(6, 1, 8, 8), torch.rand(6), r"y_P .*torch\.float32"),
        (torch.rand(6, 1, 8, 8), torch.eye(6).long(), r"y_P .*\(6, 6\)"),
        (torch.rand(6, 1, 8, 8), torch.arange(6) - 1, r"y_P has the class -1"),
        (torch.rand(6), torch.arange(6), r"x_P .*\(6,\)"),
        (torch.ones(6, 1, 8, 8).byte(), torch.arange(6), r"x_P .*torch\.uint8"),
        (torch.rand(0, 1, 8, 8), torch.arange(0), r"x_P .*\(0, 1, 8, 8\)"),
        (torch.full((6, 1, 8, 8), torch.nan), torch.arange(6), r"x_P .* not finite"),
        (torch.rand(6, 1, 7, 8), torch.arange(6), r"x_train has images .*x_test.*\(1, [78], 8\)"),
        (torch.rand(6, 1, 8, 8).double(), torch.arange(6), "x_train has images .*float64"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(
    part: str, images: Tensor, labels: Tensor, message: str
) -> None:
    x, y = torch.rand(10, 1, 8, 8), torch.arange(10)
    wrong = replace(Dataset(x, y, x, y), **{f"x_{part}": images, f"y_{part}": labels})
    with pytest.raises(ValueError, match=message.replace("P", part)):
        train_classifiers(build_mlp, wrong, 2, SHORT)


def unbuildable(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), layer, nn.Linear(64, 10))


@pytest.mark.parametrize(
    ("build", "data", "message"),
    [
        (lambda _: unbuildable(nn.BatchNorm1d(64)), images(10), "layer 1 is BatchNorm1d"),
        (lambda _: unbuildable(nn.Linear(64, 64, bias=False)), images(10), "layer 1 is Linear"),
        (lambda _: nn.Sequential(*[nn.ReLU()] * 2), images(10), "appears twice"),
        (small_cnn, images(10), r"cannot read images of shape \(1, 8, 8\) and dtype torch.float32"),
        (build_mlp, images(12), "12 classes"),
    ],
)
def test_networks_that_do_not_fit_are_refused(build: type, data: Dataset, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_classifiers(build, data, 2, SHORT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"checkpoints": (5, 5)}, "ascending"),
        ({"checkpoints": ()}, "ascending"),
        ({"optimizers": ("lion",)}, "lion"),
        ({"checkpoints": (-1, 5)}, "ascending"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"num_evaluated": 0}, "num_evaluated must be at least 1; got 0"),
        ({"num_train_evaluated": -3}, "num_train_evaluated must be at least 1; got -3"),
        ({"lr": (0.0, 1.0)}, "lr must be"),
        ({"lr": (1e-3, float("inf"))}, "lr must be"),
        ({"l2": (1e-3, 1e-4)}, "l2 must be"),
        ({"l2": (float("nan"), 1.0)}, "l2 must be"),
        ({"init_scale": (1.0, float("inf"))}, "init_scale must be"),
        ({"dropout": (0.0, 1.0)}, "dropout must be"),
        ({"train_fractions": (0.0,)}, "train_fractions must be"),
    ],
)
def test_wrong_configurations_are_refused(wrong: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassifierConfig(**wrong)


def test_rows_of_numbers_are_data_too() -> None:
    x, y = torch.rand(60, 5), torch.arange(60) % 3
    data = Dataset(x, y, x[:30], y[:30])
    build = lambda activation: nn.Sequential(nn.Linear(5, 4), activation(), nn.Linear(4, 3))  # noqa: E731
    assert len(train_classifiers(build, data, 2, replace(SHORT, train_fractions=(1.0,)))) == 4
