"""Masks are trained by the exact gradient of what networks reach after a training under them."""

import copy
from dataclasses import replace

import pytest
import torch

from meta_train.population import as_params
from meta_train.suites.data import SparseNetworks, TicketConfig, classifier
from meta_train.suites.harness import Examples, FitConfig, fit
from meta_train.suites.harness._fit import predict
from meta_train.suites.networks import (
    Corrected,
    Corrector,
    Rehearsals,
    decoder_interface,
    join_channels,
)
from meta_train.suites.tasks._rehearsed_masks import REACHED, Rehearsal
from meta_train.suites.tasks._winning_tickets import _TINY_NETWORKS
from meta_train.tasks import Dataset
from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.testing import assert_equivariant, random_features

CONFIG = TicketConfig(hidden=(12, 10), sparsity=0.8, batch_size=16)
MODULE = classifier(20, 4, CONFIG)
SPEC = NetworkSpec.from_module(MODULE)
COUNTS = {"1.weight": 40, "3.weight": 30, "5.weight": 12}
REHEARSALS = Rehearsals(
    fit=FitConfig(num_steps=60, batch_size=2, lr=1e-2, final_lr=0.0, eval_every=20),
    num_steps=30,
    lr=0.2,
)


@pytest.fixture
def networks(generator: torch.Generator) -> SparseNetworks:
    """Classes are told by the signs of two of twenty inputs."""
    x = torch.randn(400, 1, 4, 5, generator=generator)
    y = (x[:, 0, 0, 0] > 0).long() + 2 * (x[:, 0, 0, 1] > 0).long()
    return SparseNetworks(MODULE, SPEC, Dataset(x, y, x, y), CONFIG)


def corrector() -> Corrector:
    torch.manual_seed(0)
    built = Corrected(_TINY_NETWORKS["np"], REHEARSALS).build(decoder_interface(SPEC))
    assert isinstance(built, Corrector)
    return built


def test_scores_without_a_correction_are_the_sizes_of_what_is_expected(
    generator: torch.Generator,
) -> None:
    network = corrector()
    features = random_features(SPEC, 6, generator, batch=(2,), dtype=torch.float32)
    with torch.no_grad():
        network.gain.zero_()
    for name, scores in network(features).items():
        torch.testing.assert_close(scores, features[name][..., 1:2].abs())
    others = features.map(lambda tensor: torch.cat([tensor[..., :2], tensor[..., 2:] + 1], -1))
    with torch.no_grad():
        network.gain.fill_(0.5)
    for name, scores in network(features).items():
        torch.testing.assert_close(scores, network(others)[name])
        added = scores - features[name][..., 1:2].abs()
        assert added.abs().max() <= 0.5 * 4
        assert added.flatten(1).mean(1).abs().max() < 0.1


def test_renumbering_neurons_renumbers_scores(generator: torch.Generator) -> None:
    features = random_features(SPEC, 6, generator, batch=(2,), dtype=torch.float64)
    assert_equivariant(corrector().double(), SPEC.hnp(), features, generator)


def test_as_many_weights_are_kept_of_each_layer(
    networks: SparseNetworks, generator: torch.Generator
) -> None:
    model = Rehearsal(corrector(), networks, COUNTS)
    scores = torch.randn(3, SPEC.num_entries, generator=generator).abs().requires_grad_()
    masks = model.masks(scores)
    for name, mask in as_params(SPEC, masks).items():
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        kept = COUNTS.get(name, mask[0].numel())
        assert mask.flatten(1).sum(1).tolist() == [kept] * 3
        score = as_params(SPEC, scores)[name]
        if name in COUNTS:
            assert score[mask == 1].min() > 0
            assert all(s[m == 1].min() >= s[m == 0].max() for s, m in zip(score, mask, strict=True))
    masks.sum().backward()
    assert scores.grad is not None
    assert (scores.grad[:, networks.is_weight] > 0).all()
    assert (scores.grad[:, ~networks.is_weight] == 0).all()


def test_gradients_are_those_of_the_whole_training(
    networks: SparseNetworks, generator: torch.Generator
) -> None:
    data = networks.data
    double = Dataset(data.x_train.double(), data.y_train, data.x_test.double(), data.y_test)
    exact = replace(networks, module=copy.deepcopy(MODULE).double(), data=double)
    model = Rehearsal(corrector(), exact, COUNTS)
    start = torch.randn(SPEC.num_entries, generator=generator, dtype=torch.float64) / 3  # no kinks
    mask = torch.rand(len(start), generator=generator, dtype=torch.float64)
    mask[::7] = 0  # of these, whether they would help
    mask.requires_grad_()
    (gradient,) = torch.autograd.grad(model._reached(start, mask, 3), mask)
    with torch.no_grad():
        for entry in range(0, len(start), 15):
            step = torch.zeros_like(mask)
            step[entry] = 1e-5
            up, down = (model._reached(start, mask + sign * step, 3) for sign in (1, -1))
            slope = float(up - down) / 2e-5
            assert float(gradient[entry]) == pytest.approx(slope, rel=1e-4, abs=1e-8)
    assert gradient[::7].abs().mean() > 0.1 * gradient.abs().mean()


def test_weights_that_are_removed_make_no_difference(
    networks: SparseNetworks, generator: torch.Generator
) -> None:
    model = Rehearsal(corrector(), networks, COUNTS)
    start = networks.starts(2, generator)
    (mask,) = model.masks(torch.rand(1, SPEC.num_entries, generator=generator))
    other = torch.where(mask == 1, start[0], start[1])
    assert torch.equal(model._reached(start[0], mask, 3), model._reached(other, mask, 3))
    assert not torch.equal(model._reached(start[0], mask, 3), model._reached(start[1], mask, 3))
    assert not torch.equal(model._reached(start[0], mask, 3), model._reached(start[0], mask, 4))


def test_rehearsals_make_masks_better(networks: SparseNetworks, generator: torch.Generator) -> None:
    def some(n: int) -> Examples:
        starts = networks.in_deviations(networks.starts(n, generator))
        channels = join_channels(starts, starts)  # nothing is known but the start
        features = WeightSpaceFeatures(SPEC, dict(zip(SPEC.names, channels, strict=True)))
        return Examples(features, torch.zeros(n, 1))

    model, train, held_out = Rehearsal(corrector(), networks, COUNTS), some(20), some(6)
    before = float(predict(model, held_out).mean())
    assert float(predict(model, held_out).mean()) == before
    after, _ = fit(model, train, held_out, REACHED, REHEARSALS.fit, 0, lambda *_: None)
    assert after < before - 0.02


def test_equal_corrections_have_finite_gradients(networks: SparseNetworks) -> None:
    built = Corrected(_TINY_NETWORKS["pt"], REHEARSALS).build(decoder_interface(SPEC))
    features = WeightSpaceFeatures(
        SPEC, {name: torch.ones(1, *SPEC.shapes[name], 2) for name in SPEC.names}
    )
    scores = built(features)
    torch.stack([tensor.square().mean() for tensor in scores.values()]).sum().backward()
    for parameter in built.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize("wrong", [{"num_steps": 0}, {"num_images": 0}, {"lr": 0}, {"softness": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(REHEARSALS, **wrong)
