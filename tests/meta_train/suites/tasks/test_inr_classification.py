"""Images whose class a mirror keeps are mirrored in training, and no others."""

from dataclasses import replace

import pytest
import torch

from meta_train.suites import SUITES
from meta_train.suites.data import INRAugmentation

from ..conftest import smallest


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("mirrored", "expected"), [(("digits",), True), (("cifar10",), False)])
def test_only_data_sets_that_are_named_are_mirrored(
    mirrored: tuple[str, ...], expected: bool
) -> None:
    size = replace(smallest("inr-classification"), mirrored=mirrored)  # type: ignore[call-arg]
    suite = SUITES["inr-classification"]
    experiment = suite.prepare(size, "digits", torch.device("cpu"), lambda *_: None)
    assert isinstance(experiment.objective.augment, INRAugmentation)
    assert experiment.objective.augment.mirror is expected
