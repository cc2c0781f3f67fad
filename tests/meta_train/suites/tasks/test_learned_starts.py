"""INRs fitted from a learned start: who sees labels, what a step moves, what a result says."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from meta_train import run_suite
from meta_train.suites import SUITES
from meta_train.suites.data import Images, Motion, MoveImages, _images
from meta_train.suites.networks import Aligned, DecodedImage, FlatWeights
from meta_train.suites.tasks._classification_sizes import (
    Classification,
    FitAndRead,
    LearnedStartSize,
    LogitsAndError,
)
from meta_train.tasks import Dataset, load_data
from meta_train.zoo import FieldConfig, LearnedFit, LearningConfig, image_grid, image_values
from nfn_optim import WeightSpaceFeatures
from nfn_optim.networks import HeadConfig

SUITE = SUITES["inr-classification"]
CPU = torch.device("cpu")


def small(name: str, **changes: Any) -> LearnedStartSize:
    size = SUITE.sizes[name]
    assert isinstance(size, LearnedStartSize)
    changes = {
        "data": "digits",
        "num_train": 60,
        "num_validation": 10,
        "num_test": 12,
        "field": FieldConfig(hidden=(6, 6), omega=6.0, num_steps=2, lr=0.1, num_points=16),
        "learning": LearningConfig(num_steps=5, batch_size=8),
        "methods": {"mlp+": Aligned(FlatWeights(HeadConfig((8,))))},
        "fit": replace(size.fit, num_steps=4, batch_size=8, eval_every=2),
        **changes,
    }
    return replace(size, **changes)


def prepared(size: LearnedStartSize) -> Classification:
    return size.prepare("digits", CPU, lambda *_: None)


@pytest.mark.parametrize("name", ["meta-learned", "end-to-end"])
@pytest.mark.usefixtures("cache")
def test_a_suite_runs_with_a_learned_start_and_says_what_inrs_show(name: str) -> None:
    size = small(name)
    methods = {key: SUITE.sizes["tiny"].methods[key] for key in ("mlp", "hnp")}
    result = run_suite(SUITE.name, size=replace(size, methods={**size.methods, **methods}))
    assert list(result.methods) == ["mlp+", "mlp", "hnp"]
    for reached in result.methods.values():
        assert 0 <= reached.metric <= 1
        assert 0 < reached.more["PSNR"] < 30


def start_of(experiment: Classification) -> Tensor:
    model = experiment.finish(nn.Identity())
    assert isinstance(model, FitAndRead)
    return model.fits.start.detach()


@pytest.mark.usefixtures("cache")
def test_neither_labels_nor_held_out_images_take_part_in_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given, size = load_data("digits"), small("meta-learned")

    def start_with(dataset: Dataset) -> Tensor:
        monkeypatch.setattr(_images, "load_data", lambda _: dataset)
        return start_of(prepared(size))

    first = start_with(given)
    held_out = torch.cat([given.x_train[:60], given.x_train[60:].flip(-1)])
    others = replace(
        given, x_train=held_out, x_test=given.x_test.flip(-1), y_train=given.y_train.flip(0)
    )
    assert torch.equal(start_with(others), first)
    changed = torch.cat([given.x_train[:1].flip(-1), given.x_train[1:]])
    assert not torch.equal(start_with(replace(given, x_train=changed)), first)


@pytest.mark.usefixtures("cache")
def test_networks_read_the_same_inrs_where_labels_are_not_in_the_loop() -> None:
    for name, trained in (("meta-learned", False), ("end-to-end", True)):
        size = small(name)
        experiment = prepared(size)
        network = size.methods["mlp+"].build(SUITE.interface(size, "digits"))
        first, parameters = start_of(experiment), sum(p.numel() for p in network.parameters())
        outcome = experiment.run(network, 0, lambda *_: None)
        fits = experiment.finish(network).fits
        assert torch.equal(start_of(experiment), first)  # networks share nothing
        more = fits.start.numel() + fits.changes.numel()
        assert outcome.parameters == parameters + more * trained


@pytest.mark.usefixtures("cache")
def test_decoders_are_set_up_by_training_sirens_and_their_images() -> None:
    size = small("meta-learned")
    experiment = prepared(size)
    model, known = experiment.finish(nn.Identity()), experiment.known
    assert isinstance(model, FitAndRead)
    assert known is not None
    assert torch.equal(known.targets, experiment.train.features)
    expected = model.fits.fit(image_values(known.targets, size.amplitude))
    torch.testing.assert_close(known.features.to_params(), expected)
    network = DecodedImage(side=8, width=4).build(SUITE.interface(size, "digits"))
    drawn = {name: tensor.clone() for name, tensor in network.named_buffers()}
    assert 0 <= experiment.run(network, 0, lambda *_: None).score <= 1
    assert not torch.equal(network[0].map, drawn["0.map"])


@pytest.mark.usefixtures("cache")
def test_labels_pass_through_the_fits_end_to_end() -> None:
    size = small("end-to-end", fidelity=0.0)
    experiment = prepared(size)
    network = nn.Sequential(size.methods["mlp+"].build(SUITE.interface(size, "digits")))
    model = experiment.finish(network)
    batch = experiment.train.take(slice(8))
    loss = experiment.objective.loss(model(batch.features), batch.targets)
    loss.backward()
    assert isinstance(model, FitAndRead)
    for parameter in (model.fits.start, model.fits.changes, *network.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_predictions_end_in_the_error_of_the_fit(generator: torch.Generator) -> None:
    images = torch.rand(3, 1, 4, 5, generator=generator)
    fits = LearnedFit(image_grid(4, 5), 1, FieldConfig(hidden=(4,), num_steps=1, lr=0.1))

    class Reads(nn.Module):
        def forward(self, features: WeightSpaceFeatures) -> Tensor:
            return next(iter(features.values())).flatten(1)[:, :2]

    model = FitAndRead(fits, Reads(), amplitude=0.5, num_points=3).eval()
    predictions = model(images)
    values = image_values(images, 0.5)
    torch.testing.assert_close(predictions[:, -1], fits.errors(fits.fit(values), values))
    labels = torch.tensor([0, 1, 1])
    loss = LogitsAndError(2.0)(predictions, labels)
    expected = nn.functional.cross_entropy(predictions[:, :2], labels)
    torch.testing.assert_close(loss, expected + 2 * predictions[:, -1].mean())
    smooth = LogitsAndError(0.0, 0.3)(predictions, labels)
    even = -predictions[:, :2].log_softmax(-1).mean()
    torch.testing.assert_close(smooth, 0.7 * expected + 0.3 * even)
    sure = torch.tensor([[1.0, 0.0, 9.0], [0.0, 1.0, 9.0]])
    assert LogitsAndError.accuracy(sure, torch.tensor([0, 1])) == 1


def test_no_motion_changes_nothing(generator: torch.Generator) -> None:
    images = Images(torch.rand(4, 3, 5, 7, generator=generator), torch.arange(4))
    still = MoveImages(Motion(0, 0))(images, generator)
    torch.testing.assert_close(still.features, images.features, atol=1e-5, rtol=0)
    moved = MoveImages(Motion(0.1, 0.1))(images, generator)
    assert moved.features.shape == images.features.shape
    assert (moved.features - images.features).abs().mean() > 0.02
    assert moved.features.min() >= 0
    assert moved.features.max() <= 1


def test_a_shift_moves_rows_by_the_first_coordinate(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 2] = 1
    one_row = torch.tensor([0.5, 0.0])  # of 2, where five rows are 0.5 apart
    monkeypatch.setattr(Motion, "__call__", lambda self, coords, n, _: coords[None] + one_row)
    moved = MoveImages(Motion(0, 0))(Images(image, torch.zeros(1)), torch.Generator())
    assert moved.features[0, 0].nonzero().tolist() == [[1, 2]]


def test_only_images_that_keep_their_class_are_mirrored(generator: torch.Generator) -> None:
    image = torch.zeros(64, 1, 3, 3)
    image[..., 0, 2] = 1
    images = Images(image, torch.zeros(64))
    mirrored = MoveImages(Motion(0, 0, mirror=True))(images, generator).features
    others = mirrored[..., 0, 0].round()
    assert 0 < others.sum() < 64
    torch.testing.assert_close(mirrored[..., 0, 2], 1 - others)
    size = small("meta-learned")
    for names, expected in (((), False), (("digits",), True)):
        augment = prepared(replace(size, mirrored=names)).objective.augment
        assert isinstance(augment, MoveImages)
        assert augment.motion.mirror == expected


def test_entries_have_units_of_their_own(generator: torch.Generator) -> None:
    size = small("meta-learned")
    network = size.methods["mlp+"].build(SUITE.interface(size, "digits"))
    spec = SUITE.interface(size, "digits").spec
    scale = {name: torch.rand(shape, generator=generator) for name, shape in spec.shapes.items()}
    read: dict[str, Tensor] = {}
    for name, shape in spec.shapes.items():
        noise = torch.randn(50, *shape, 1, generator=generator)
        read[name] = 3 + 0.1 * (scale[name].unsqueeze(-1) + 0.1) * noise
    units = next(network.children())
    for tensor in units(WeightSpaceFeatures(spec, read)).values():
        torch.testing.assert_close(tensor.mean(0), torch.zeros_like(tensor[0]), atol=1e-2, rtol=0)
        deviations = tensor.std(0, correction=0)
        torch.testing.assert_close(deviations, torch.ones_like(deviations), atol=2e-2, rtol=0)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="fidelity must not be negative"):
        small("end-to-end", fidelity=-1.0)
    with pytest.raises(ValueError, match="num_points must be at least 1"):
        small("end-to-end", num_points=0)
    with pytest.raises(ValueError, match="shift must not be negative"):
        Motion(0.1, -0.1)
    with pytest.raises(ValueError, match="ClassificationSize or LearnedStartSize"):
        run_suite(SUITE.name, size=SUITES["inr-editing"].sizes["tiny"])
