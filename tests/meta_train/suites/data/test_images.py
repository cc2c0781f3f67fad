"""Images that a suite cannot use are refused; parts do not overlap."""

from dataclasses import replace

import pytest
import torch

from meta_train.suites.data._images import num_classes, read_images, split
from meta_train.tasks import Dataset, load_data

GOOD = Dataset(torch.rand(6, 1, 4, 4), torch.arange(6), torch.rand(3, 1, 4, 4), torch.arange(3))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("x_train", torch.rand(6, 4, 4), r"train images have the shape \(6, 4, 4\)"),
        ("x_train", torch.zeros(6, 1, 4, 4, dtype=torch.uint8), "uint8, not torch.float32.*by 255"),
        ("x_test", 255 * torch.ones(3, 1, 4, 4), "test images go from 255 to 255.*scale them"),
        ("x_test", torch.full((3, 1, 4, 4), float("nan")), "go from nan to nan"),
        ("x_test", torch.rand(3, 1, 5, 4), r"\(1, 4, 4\).*\(1, 5, 4\)"),
        ("y_train", torch.arange(5), r"labels of the shape \(5,\)"),
        ("y_train", torch.arange(6) - 1, "from 0 on"),
        ("y_test", torch.rand(3), "torch.float32, not.*torch.int64"),
    ],
)
def test_wrong_images_and_labels_are_refused(field: str, value: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_images(replace(GOOD, **{field: value}))


def test_good_images_and_names_are_read() -> None:
    assert read_images("digits") is load_data("digits")
    good = read_images(GOOD)
    for given, read in ((GOOD.x_train, good.x_train), (GOOD.x_test, good.x_test)):
        torch.testing.assert_close(read.flatten().sort().values, given.flatten().sort().values)
    assert num_classes(GOOD) == 6


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_may_come_first_or_last(channels: int) -> None:
    first = replace(
        GOOD, x_train=torch.rand(6, channels, 5, 7), x_test=torch.rand(3, channels, 5, 7)
    )
    last = replace(first, x_train=first.x_train.movedim(1, -1), x_test=first.x_test.movedim(1, -1))
    for a, b in zip(
        vars(read_images(first)).values(), vars(read_images(last)).values(), strict=True
    ):
        assert torch.equal(a, b)


def test_images_as_narrow_as_channels_are_taken_as_they_are() -> None:
    narrow = replace(GOOD, x_train=torch.rand(6, 1, 8, 3), x_test=torch.rand(3, 1, 8, 3))
    assert read_images(narrow).x_train.shape == (6, 1, 8, 3)


def test_images_of_ones_own_may_be_sorted() -> None:
    labels = torch.arange(100) // 10
    images = labels[:, None, None, None].expand(100, 1, 2, 2) / 10
    data = read_images(Dataset(images, labels, images, labels))
    assert torch.equal(data.x_train[:, 0, 0, 0], data.y_train / 10)
    assert torch.equal(data.x_test[:, 0, 0, 0], data.y_test / 10)
    train, validation, _ = split(data, 60, 40, 100)
    assert len(train.targets.unique()) == len(validation.targets.unique()) == 10


def test_parts_do_not_overlap() -> None:
    train, validation, test = split(GOOD, 4, 2, 3)
    assert train.targets.tolist() == [0, 1, 2, 3]
    assert validation.targets.tolist() == [4, 5]
    assert torch.equal(test.features, GOOD.x_test)


def test_a_small_data_set_is_split_in_proportion() -> None:
    train, validation, test = split(GOOD, 8, 4, 9)
    assert train.targets.tolist() == [0, 1, 2, 3]
    assert validation.targets.tolist() == [4, 5]
    assert torch.equal(test.features, GOOD.x_test)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="6 training images are too few.*9 to 1"):
        split(GOOD, 9, 1, 3)
