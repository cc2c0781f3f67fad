"""Images whose class a mirror keeps are mirrored in training, and no others."""

from dataclasses import replace

import pytest
import torch

from meta_train.suites import SUITES
from meta_train.suites.data import INRAugmentation
from meta_train.suites.tasks._inr_classification import ClassificationSize

from ..conftest import smallest


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("mirrored", "expected"), [(("digits",), True), (("cifar10",), False)])
def test_only_data_sets_that_are_named_are_mirrored(
    mirrored: tuple[str, ...], expected: bool
) -> None:
    size = smallest("inr-classification")
    assert isinstance(size, ClassificationSize)
    prepare = SUITES["inr-classification"].prepare
    named = replace(size, mirrored=mirrored)
    experiment = prepare(named, "digits", torch.device("cpu"), lambda *_: None)
    assert isinstance(experiment.objective.augment, INRAugmentation)
    assert experiment.objective.augment.mirror is expected
