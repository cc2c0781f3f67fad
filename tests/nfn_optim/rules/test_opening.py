"""Steps start small, and open while the loss goes down towards the fast iterate."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nfn_optim import NFNOptimizer, NFNRule
from nfn_optim.rules import NFNRuleConfig
from nfn_optim.rules.constants import MOST_OPENING
from nfn_optim.testing import chain_spec

SPEC = chain_spec([24, 48, 12])
FULL = math.log(4)


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in SPEC.stored.items()
    }


def openings(gradients, scale=1.0, name="0.weight", **config):
    """Of each step of a parameter under these gradients, by what log it has become larger."""
    rule = NFNRule(NFNRuleConfig(**config)).double().requires_grad_(False)
    params = draw(0)
    state, opened = rule.init(params, SPEC), []
    for grads in gradients:
        grads = {n: scale * g for n, g in grads.items()}
        delta, state = rule(params, grads, state)
        params = {n: p + delta[n] for n, p in params.items()}
        opened.append(state.slots[name]["opened"].item())
    return opened


def test_steps_open_to_their_full_size_where_gradients_stay():
    opened = openings([draw(1)] * 8)
    assert opened[0] == 0
    assert opened[1] == pytest.approx(MOST_OPENING)
    assert opened[-1] == pytest.approx(FULL)


def test_noise_opens_steps_late():
    opened = openings([draw(1 + seed) for seed in range(60)], steep=0)
    assert opened[10] < 0.5 * FULL
    assert opened[-1] == pytest.approx(FULL)


def test_noise_opens_steps_late_on_the_whole_where_directions_remember():
    runs = [openings([draw(100 * run + seed) for seed in range(60)]) for run in range(5)]
    assert sum(opened[10] for opened in runs) / 5 < 0.5 * FULL
    assert [opened[-1] for opened in runs] == pytest.approx([FULL] * 5)


def test_steps_stay_small_where_gradients_point_back():
    grads = draw(1)
    turned = [{n: (-1) ** k * g for n, g in grads.items()} for k in range(20)]
    assert max(openings(turned)) < 0.5 * FULL


def test_a_parameter_whose_gradients_point_back_does_not_hold_back_the_others():
    turned = [{**draw(1), "0.weight": (-1) ** k * draw(1)["0.weight"]} for k in range(20)]
    assert max(openings(turned)) < 0.5 * FULL
    assert openings(turned, name="1.weight")[-1] == pytest.approx(FULL)


def test_open_steps_stay_open():
    opened = openings([draw(1)] * 8 + [draw(2 + seed) for seed in range(20)])
    assert opened[8:] == pytest.approx([FULL] * 20)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_loss_does_not_matter(scale):
    gradients = [draw(1)] * 2 + [draw(2 + seed) for seed in range(5)]
    assert openings(gradients, scale) == pytest.approx(openings(gradients))


def test_with_a_first_share_of_one_steps_have_their_full_size_at_once():
    small, full = (
        NFNRule(NFNRuleConfig(first_share=share)).double().requires_grad_(False)
        for share in (1 / 4, 1.0)
    )
    params, grads = draw(0), draw(1)
    ours, theirs = (rule(params, grads, rule.init(params, SPEC))[0] for rule in (small, full))
    for name in params:
        torch.testing.assert_close(4 * ours[name], theirs[name])


def test_a_trained_network_is_not_shaken():
    """A classifier with next to nothing left to learn, under fresh batches of what it knows."""

    def worst(first_share):
        rule = NFNRule(NFNRuleConfig(first_share=first_share)).requires_grad_(False)
        network = copy.deepcopy(trained)
        optimizer = NFNOptimizer(network, checkpoint=rule)
        losses = [train(network, optimizer, 1, seed=2 + k) for k in range(30)]
        return max(losses) - before

    torch.manual_seed(0)
    trained = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5))
    teacher = nn.Linear(20, 5)

    def train(network, optimizer, steps, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            inputs = torch.randn(64, 20, generator=generator)
            loss = cross_entropy(network(inputs), teacher(inputs).argmax(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    before = train(trained, torch.optim.AdamW(trained.parameters(), 3e-3), 800, seed=1)
    assert worst(1 / 4) < 0.4 * worst(1.0)
