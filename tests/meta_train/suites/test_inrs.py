"""Images as INRs: fewer images than a size asks for are fitted more often."""

import pytest
import torch

from meta_train.suites._inrs import INRSize, make_inrs
from meta_train.tasks import Dataset

from .conftest import smallest


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("num_images", "num_inrs"), [(50, 40), (25, 40), (17, 52)])
def test_few_images_are_shown_by_as_many_inrs(num_images: int, num_inrs: int) -> None:
    images, labels = torch.rand(num_images, 1, 3, 3), torch.arange(num_images)
    size = smallest("inr-classification")
    assert isinstance(size, INRSize)
    data = Dataset(images, labels, images[:5], labels[:5])
    train, validation, test = make_inrs(size, data, torch.device("cpu"), lambda *_: None)
    num_validation = min(num_images, 50) // 5
    assert len(train.labels) == len(train.features["0.weight"]) == num_inrs
    assert (len(validation.labels), len(test.labels)) == (num_validation, 5)
    assert not set(train.labels.tolist()) & set(validation.labels.tolist())
    assert len(train.features["0.weight"].flatten(1).unique(dim=0)) == num_inrs
