"""Images as INRs: fewer images than a size asks for are fitted more often."""

from dataclasses import replace

import pytest
import torch

from meta_train.suites.data._inrs import INRSize, make_inrs
from meta_train.tasks import Dataset

from ..conftest import smallest


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("num_images", "num_inrs"), [(50, 40), (25, 40), (17, 39), (5, 40)])
def test_few_images_are_fitted_up_to_ten_times(num_images: int, num_inrs: int) -> None:
    images, labels = torch.rand(num_images, 1, 3, 3), torch.arange(num_images)
    size = smallest("inr-classification")
    assert isinstance(size, INRSize)
    data = Dataset(images, labels, images[:5], labels[:5])
    train, validation, test = make_inrs(size, data, torch.device("cpu"), lambda *_: None)
    num_validation = num_images // 5
    assert len(train.labels) == len(train.features["0.weight"]) == num_inrs
    assert (len(validation.labels), len(test.labels)) == (num_validation, 5)
    assert not set(train.labels.tolist()) & set(validation.labels.tolist())
    assert len(train.features["0.weight"].flatten(1).unique(dim=0)) == num_inrs


@pytest.mark.parametrize("field", ["num_train", "num_validation", "num_test", "copies"])
def test_numbers_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=rf"{field} must be at least 1; got 0"):
        replace(smallest("inr-editing"), **{field: 0})  # type: ignore[arg-type]
