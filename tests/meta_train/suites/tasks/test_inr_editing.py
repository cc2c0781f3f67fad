"""An edited image is the mean of what the written SIRENs show, and may be rendered in part."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from meta_train import run_suite
from meta_train.suites import SUITES
from meta_train.suites.harness import Interface
from meta_train.suites.tasks._inr_editing import Editor, edit, loss_where_rendered
from meta_train.zoo import FieldConfig, siren
from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.testing import random_features

SPEC = NetworkSpec.from_module(siren(2, 3, FieldConfig(hidden=(5, 4))))
SIZE, OMEGA = (4, 6), 3.0


class Writes(nn.Module):
    """Writes the same changes for all."""

    def __init__(self, changes: WeightSpaceFeatures) -> None:
        super().__init__()
        self.changes = changes

    def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
        return self.changes


@pytest.fixture
def inrs(generator: torch.Generator) -> WeightSpaceFeatures:
    return random_features(SPEC, 1, generator, batch=(2,), dtype=torch.float64)


@pytest.fixture
def changes(generator: torch.Generator) -> WeightSpaceFeatures:
    return random_features(SPEC, 3, generator, batch=(2,), dtype=torch.float64)


def editor(changes: WeightSpaceFeatures, pixels: int | None = None) -> Editor:
    return Editor(Writes(changes), SPEC, SIZE, OMEGA, pixels).double()


def test_the_image_is_the_mean_of_what_the_written_networks_show(
    inrs: WeightSpaceFeatures, changes: WeightSpaceFeatures
) -> None:
    alone = [
        editor(changes.like([tensor[..., [k]] for tensor in changes.values()]))(inrs)
        for k in range(changes.channels)
    ]
    assert (alone[0] - alone[1]).abs().max() > 1e-3
    torch.testing.assert_close(editor(changes)(inrs), torch.stack(alone).mean(0))


def test_some_pixels_are_rendered_in_training_and_all_in_evaluation(
    inrs: WeightSpaceFeatures, changes: WeightSpaceFeatures
) -> None:
    whole = editor(changes)(inrs)
    some = editor(changes, pixels=7)
    first, second = some(inrs), some(inrs)
    known = ~first.isnan()
    assert known.sum() == 7 * 2 * 3
    torch.testing.assert_close(first[known], whole[known])
    assert not torch.equal(known, ~second.isnan())
    torch.testing.assert_close(some.eval()(inrs), whole)


def test_the_loss_counts_what_was_rendered() -> None:
    predictions = torch.tensor([[[[1.0, torch.nan], [3.0, 4.0]]]]).requires_grad_()
    targets = torch.tensor([[[[0.0, 7.0], [3.0, 2.0]]]])
    loss = loss_where_rendered(predictions, targets)
    assert loss.item() == pytest.approx((1 + 0 + 4) / 3)
    loss.backward()
    assert predictions.grad is not None
    assert predictions.grad.isfinite().all()


def test_white_is_the_amplitude_and_black_its_negative() -> None:
    images = torch.zeros(1, 1, 5, 5)
    images[..., 2, 2] = 1
    assert edit(images, 0.5).unique().tolist() == [-0.5, 0.5]
    assert (edit(images, 0.5) > 0).sum() == 9


def write(count: int) -> Callable[[NetworkSpec], nn.Module]:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.zeros(count))

        def forward(self, features: WeightSpaceFeatures) -> WeightSpaceFeatures:
            return features.like([self.value.expand(*t.shape[:-1], -1) for t in features.values()])

    return lambda spec: Constant()


def test_a_network_may_write_several_networks_where_they_are_averaged() -> None:
    several = Interface(SPEC, several=True)
    for count in (1, 2, 8):
        network = write(count)(SPEC)
        several.check(network, torch.device("cpu"))
    with pytest.raises(ValueError, match="gives features of the same network with 2 channels"):
        Interface(SPEC).check(write(2)(SPEC), torch.device("cpu"))


@pytest.mark.usefixtures("small_suites")
def test_every_network_counts_the_same() -> None:
    def reached(count: int) -> float:
        return run_suite("inr-editing", build=write(count), size="tiny").methods["yours"].metric

    assert reached(4) == pytest.approx(reached(1), rel=1e-3)


def test_sizes_bring_the_numbers_of_their_own_protocol() -> None:
    suite = SUITES["inr-editing"]
    other = suite.sizes["neural-graphs"].paper
    assert other is not None
    assert other["mnist"]["np"] < suite.paper["mnist"]["np"] / 2
    assert suite.sizes["small"].paper is None
