"""Masks keep what they should, and tickets train from their starts."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from meta_train.population._engine import chunk_seed
from meta_train.suites.data import SparseNetworks, TicketConfig, classifier
from meta_train.tasks import load_data
from nfn_optim import NetworkSpec

CONFIG = TicketConfig(hidden=(7, 6), sparsity=0.75, num_steps=40, test_steps=40, lr=0.02)


pytestmark = pytest.mark.usefixtures("cache")


def sparse_networks(config: TicketConfig = CONFIG) -> SparseNetworks:
    module = classifier(64, 10, config)
    return SparseNetworks(module, NetworkSpec.from_module(module), load_data("digits"), config)


def quiet(done: int, total: int) -> None:
    pass


def test_masks_keep_the_largest_scores_and_all_biases(generator: torch.Generator) -> None:
    networks = sparse_networks()
    scores = torch.randn(3, len(networks.is_weight), generator=generator)
    masks = networks.keep_largest(scores, networks.num_kept())
    weights = networks.is_weight
    assert masks[:, ~weights].eq(1).all()
    assert masks[:, weights].sum(1).tolist() == [round(0.25 * int(weights.sum()))] * 3
    kept, removed = scores[0][weights & (masks[0] == 1)], scores[0][masks[0] == 0]
    assert kept.min() > removed.max()


def test_masks_of_layers_keep_as_many_weights_as_tickets_do(generator: torch.Generator) -> None:
    networks = sparse_networks()
    scores = torch.randn(2, 5, len(networks.is_weight), generator=generator)
    tickets = networks.keep_largest(scores[0] * networks.deviations, networks.num_kept())
    counts = networks.counts(tickets)
    assert sum(counts.values()) == networks.num_kept()
    masks = networks.keep_largest_of_layers(scores[1], counts)
    assert masks.sum(1).tolist() == tickets.sum(1).tolist()
    assert networks.counts(masks) == counts


def test_masked_weights_stay_zero_and_training_helps(generator: torch.Generator) -> None:
    networks = sparse_networks()
    starts = networks.starts(3, generator)
    masks = networks.keep_largest(starts.abs(), networks.num_kept())
    trained = networks.train_masked(starts, masks, 150, 0, quiet)
    assert trained[masks == 0].eq(0).all()
    gained = networks.accuracies(trained) - networks.accuracies(starts * masks)
    assert gained.min() > 0.15


def test_training_equals_an_ordinary_loop_with_masks(generator: torch.Generator) -> None:
    networks = sparse_networks(replace(CONFIG, batch_size=9))
    starts = networks.starts(2, generator)
    masks = networks.keep_largest(starts.abs(), networks.num_kept())
    trained = networks.train_masked(starts, masks, 5, 3, quiet)
    data = networks.data
    draws = list(networks._batches(2, 5, chunk_seed(3, slice(0, 2))))
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
    networks = sparse_networks(replace(CONFIG, rounds=2, num_steps=3))
    starts = networks.starts(2, generator)
    seen: list[Tensor] = []
    plain = SparseNetworks.train_masked

    def spy(self: SparseNetworks, starts: Tensor, masks: Tensor, *rest: object) -> Tensor:
        seen.append(masks)
        return plain(self, starts, masks, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparseNetworks, "train_masked", spy)
        last = networks.find_tickets(starts, 0, quiet)
    total = int(networks.is_weight.sum())
    kept = [int(masks[0, networks.is_weight].sum()) for masks in (*seen, last)]
    assert kept == [total, round(total / 2), round(total / 4)]
    assert last[seen[1] == 0].eq(0).all()


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
