"""Masks keep what they should, tickets train from their starts, and any decoder can make masks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from meta_train import run_suite
from meta_train.population._engine import chunk_seed
from meta_train.suites import _winning_tickets
from meta_train.suites._mask_vae import (
    Autoencode,
    MaskVAE,
    encoder_of,
    interface_of,
    negative_bound,
)
from meta_train.suites._methods import METHODS
from meta_train.suites._tickets import Classifiers, TicketConfig, classifier
from meta_train.suites._winning_tickets import SUITE
from meta_train.tasks import load_data
from nfn_optim import NetworkSpec, WeightSpaceFeatures
from nfn_optim.layers import Pointwise
from nfn_optim.testing import assert_equivariant

from .conftest import NETWORK, smallest

CONFIG = TicketConfig(hidden=(7, 6), sparsity=0.75, num_steps=40, test_steps=40, lr=0.02)


def classifiers(config: TicketConfig = CONFIG) -> Classifiers:
    return Classifiers.of(classifier(64, 10, config), load_data("digits"), config, None)


def quiet(done: int, total: int) -> None:
    pass


def test_masks_keep_the_largest_scores_and_all_biases(generator: torch.Generator) -> None:
    networks = classifiers()
    scores = torch.randn(3, len(networks.is_weight), generator=generator)
    masks = networks.keep_largest(scores, networks.num_kept())
    weights = networks.is_weight
    assert masks[:, ~weights].eq(1).all()
    assert masks[:, weights].sum(1).tolist() == [round(0.25 * int(weights.sum()))] * 3
    kept, removed = scores[0][weights & (masks[0] == 1)], scores[0][masks[0] == 0]
    assert kept.min() > removed.max()


def test_masks_of_layers_keep_as_many_weights_as_tickets_do(generator: torch.Generator) -> None:
    networks = classifiers()
    scores = torch.randn(2, 5, len(networks.is_weight), generator=generator)
    tickets = networks.keep_largest(scores[0] * networks.deviations, networks.num_kept())
    counts = networks.counts(tickets)
    assert sum(counts.values()) == networks.num_kept()
    masks = networks.keep_largest_of_layers(scores[1], counts)
    assert masks.sum(1).tolist() == tickets.sum(1).tolist()
    assert networks.counts(masks) == counts


def test_masked_weights_stay_zero_and_training_helps(generator: torch.Generator) -> None:
    networks = classifiers()
    starts = networks.starts(3, generator)
    masks = networks.keep_largest(starts.abs(), networks.num_kept())
    trained = networks.train(starts, masks, 150, 0, quiet)
    assert trained[masks == 0].eq(0).all()
    gained = networks.accuracies(trained) - networks.accuracies(starts * masks)
    assert gained.min() > 0.15


def test_training_equals_an_ordinary_loop_with_masks(generator: torch.Generator) -> None:
    networks = classifiers(replace(CONFIG, batch_size=9))
    starts = networks.starts(2, generator)
    masks = networks.keep_largest(starts.abs(), networks.num_kept())
    trained = networks.train(starts, masks, 5, 3, quiet)
    data = networks.data
    draws = list(networks._draws(2, 5, chunk_seed(3, slice(0, 2))))
    for index in range(2):
        weights = starts[index].clone().requires_grad_()
        optimizer = torch.optim.Adam([weights], lr=CONFIG.lr)
        for step, (samples,) in enumerate(draws):
            optimizer.param_groups[0]["lr"] = CONFIG.lr * (1 - step / 5)
            optimizer.zero_grad()
            vector = weights * masks[index]
            module = classifier(64, 10, CONFIG)
            names = list(dict(module.named_parameters()))
            parts = vector.split([p.numel() for p in module.parameters()])
            shapes = [p.shape for p in module.parameters()]
            params = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
            logits = torch.func.functional_call(module, params, (data.x_train[samples[index]],))
            nn.functional.cross_entropy(logits, data.y_train[samples[index]]).backward()
            optimizer.step()
        torch.testing.assert_close(trained[index], (weights * masks[index]).detach())


def test_several_rounds_remove_the_same_part_each(generator: torch.Generator) -> None:
    networks = classifiers(replace(CONFIG, rounds=2, num_steps=3))
    starts = networks.starts(2, generator)
    seen: list[Tensor] = []
    plain = Classifiers.train

    def spy(self: Classifiers, starts: Tensor, masks: Tensor, *rest: object) -> Tensor:
        seen.append(masks)
        return plain(self, starts, masks, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifiers, "train", spy)
        last = networks.find_tickets(starts, 0, quiet)
    total = int(networks.is_weight.sum())
    kept = [int(masks[0, networks.is_weight].sum()) for masks in (*seen, last)]
    assert kept == [total, round(total / 2), round(total / 4)]
    assert last[seen[1] == 0].eq(0).all()


def pairs(spec: NetworkSpec, generator: torch.Generator) -> WeightSpaceFeatures:
    tensors = {n: torch.randn(2, *s, 2, generator=generator) for n, s in spec.shapes.items()}
    return WeightSpaceFeatures(spec, tensors)


def test_the_bound_is_that_of_the_logits_and_the_latents(generator: torch.Generator) -> None:
    networks = classifiers()
    interface = interface_of(networks.spec)
    torch.manual_seed(0)
    vae = MaskVAE(*(METHODS["pt"](i, NETWORK) for i in (encoder_of(interface), interface)))
    model = Autoencode(vae, networks.is_weight).eval()
    masks = torch.ones(2, int(networks.is_weight.sum()))
    features = pairs(networks.spec, generator)
    predictions = model(features)
    statistics = torch.cat([t.flatten(1, -2) for t in vae.encoder(features).values()], dim=1)
    mean, log_variance = statistics.chunk(2, dim=-1)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    divergence = torch.distributions.kl_divergence(posterior, prior).sum((1, 2))
    likelihood = torch.distributions.Bernoulli(logits=predictions[:, :-1]).log_prob(masks).sum(1)
    expected = (divergence - likelihood).mean() / masks.shape[1]
    torch.testing.assert_close(negative_bound(predictions, masks), expected)


@pytest.mark.parametrize("name", SUITE.methods)
def test_decoders_of_the_methods_are_equivariant(name: str, generator: torch.Generator) -> None:
    interface = interface_of(classifiers().spec)
    torch.manual_seed(0)
    network = SUITE.methods[name](interface, replace(NETWORK, norm=True)).double()
    shapes = interface.spec.shapes.items()
    tensors = {n: torch.randn(2, *s, 6, generator=generator, dtype=torch.double) for n, s in shapes}
    features = WeightSpaceFeatures(interface.spec, tensors)
    assert_equivariant(network, interface.spec.hnp(), features, generator)


@pytest.mark.usefixtures("small_suites")
def test_a_decoder_of_ones_own_makes_masks() -> None:
    def decoder(spec: NetworkSpec) -> nn.Module:
        return Pointwise(spec, 6, 1)

    result = run_suite("winning-tickets", build=decoder, methods=["imp"], size="tiny")
    assert list(result.methods) == ["imp", "yours"]
    assert result.methods["yours"].parameters > 0
    with pytest.raises(ValueError, match="6 channels"):
        run_suite("winning-tickets", build=lambda spec: Pointwise(spec, 1, 1), size="tiny")


@pytest.mark.usefixtures("small_suites")
@pytest.mark.usefixtures("cache")
def test_an_encoder_of_another_width_is_another_outcome() -> None:
    def digest(channels: int) -> str:
        size = smallest("winning-tickets")
        size = replace(size, network=replace(NETWORK, channels=(channels,)))
        return SUITE.prepare(size, "digits", torch.device("cpu"), lambda *_: None).digest()

    assert digest(4) == digest(4)
    assert digest(4) != digest(8)


def test_references_train_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_winning_tickets, "fit", lambda *_: pytest.fail("trained a network"))
    result = run_suite("winning-tickets", methods=list(SUITE.references), size="tiny")
    assert all(reached.parameters == 0 for reached in result.methods.values())


@pytest.mark.usefixtures("small_suites")
def test_the_score_is_the_mean_over_networks_and_has_its_standard_error() -> None:
    size = SUITE.sizes["tiny"]
    problem = SUITE.prepare(size, size.data, torch.device("cpu"), lambda *_: None)
    outcome = SUITE.references["imp"](problem, 0, quiet)
    accuracies, densities = outcome.predictions[:, 0], outcome.predictions[:, 1:]
    assert densities.shape == (size.num_test, len(problem.classifiers.spec.weights))
    assert outcome.score == pytest.approx(float(accuracies.mean()))
    squares = (accuracies - accuracies.mean()).square().sum() / (size.num_test - 1)
    error = _winning_tickets.standard_error(problem, outcome)
    assert error == pytest.approx(float((squares / size.num_test).sqrt()))
    assert error > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sparsity": 1.0}, "between 0 and 1; got 1.0"),
        ({"hidden": ()}, r"hidden must be at least 1; got \(\)"),
        ({"rounds": 0}, "rounds must be at least 1; got 0"),
    ],
)
def test_tickets_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)  # type: ignore[arg-type]


def test_sizes_without_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="num_test must be at least 1; got 0"):
        replace(smallest("winning-tickets"), num_test=0)  # type: ignore[call-arg]
