"""Matrices become smaller or larger as a whole where gradients ask for it."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nfn_optim import NetworkSpec, NFNOptimizer, NFNRule
from nfn_optim.rules import NFNRuleConfig
from nfn_optim.rules.constants import ASKED_DECAY, ASKED_UNIT, MOST_GROWTH, SCALED_ALIKE
from nfn_optim.testing import chain_spec

SPEC = chain_spec([5, 6, 3])
MATRICES = ("0.weight", "1.weight")


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in SPEC.stored.items()
    }


def rule(scaling, **config):
    shape = NFNRuleConfig(scaling=scaling, fading=0.0, first_share=1.0, **config)
    return NFNRule(shape).double().requires_grad_(False)


def step(scaling, grads, asked=0.0, params=None, spec=SPEC, steps=0):
    """What one step adds, where gradients have asked for smaller parameters so much before it."""
    params = draw(0) if params is None else params
    one = rule(scaling)
    state = one.init(params, spec)
    for slot in state.slots.values():
        slot["asked"] += asked
        slot["step"] += steps
    delta, state = one(params, grads, state)
    return delta, state.slots


def test_what_gradients_ask_for_is_their_mean_cosine_with_the_parameters():
    params, one = draw(0), rule(0.2)
    state, expected = one.init(params, SPEC), dict.fromkeys(params, 0.0)
    for seed in (1, 2, 3):
        grads = draw(seed)
        _, state = one(params, grads, state)
        for name, grad in grads.items():
            cosine = (grad * params[name]).sum() / (grad.norm() * params[name].norm())
            expected[name] += (1 - ASKED_DECAY) * (float(cosine) - expected[name])
            assert float(state.slots[name]["asked"]) == pytest.approx(expected[name], abs=1e-6)


@pytest.mark.parametrize("asked", [0.5 * ASKED_UNIT, -0.5 * ASKED_UNIT, 40 * ASKED_UNIT, -0.4])
def test_matrices_follow_by_a_share_of_the_size_of_steps_and_nothing_else_does(asked):
    params, grads, scaling = draw(0), draw(1), 0.3
    plain, slots = step(0.0, grads, asked)
    scaled, _ = step(scaling, grads, asked)
    for name, param in params.items():
        known = max(-MOST_GROWTH, min(1.0, float(slots[name]["asked"]) / ASKED_UNIT))
        share = scaling * NFNRuleConfig.initial_lr * known if name in MATRICES else 0.0
        assert share or name not in MATRICES
        torch.testing.assert_close(scaled[name], plain[name] - share * param, rtol=1e-5, atol=1e-9)


def test_steps_that_fade_scale_less():
    params, grads = draw(0), {n: 1e-3 * g for n, g in draw(1).items()}
    moved = {}
    for scaling in (0.0, 0.2):
        shape = NFNRuleConfig(scaling=scaling, fading=0.5, first_share=1.0)
        one = NFNRule(shape).double().requires_grad_(False)
        state = one.init(params, SPEC)
        for slot in state.slots.values():
            slot["asked"] += 1.0
            slot["loudest"] += float(draw(1)["0.weight"].square().mean())
        moved[scaling], state = one(params, grads, state)
        left = {n: float(s["loud"] / s["loudest"]) ** 0.25 for n, s in state.slots.items()}
    for name in MATRICES:
        share = 0.2 * NFNRuleConfig.initial_lr * left[name]
        expected = moved[0.0][name] - share * params[name]
        torch.testing.assert_close(moved[0.2][name], expected, rtol=1e-5, atol=1e-9)
        assert left[name] < 0.1


@pytest.mark.parametrize(("steps", "left"), [(149, 1), (299, 0.5), (14999, 0.01)])
def test_in_long_runs_matrices_are_scaled_ever_less(steps, left):
    params, grads, scaling = draw(0), draw(1), 0.3
    plain, _ = step(0.0, grads, 1.0, steps=steps)
    scaled, _ = step(scaling, grads, 1.0, steps=steps)
    assert min(1, SCALED_ALIKE / (steps + 1)) == left
    for name in MATRICES:
        share = left * scaling * NFNRuleConfig.initial_lr
        torch.testing.assert_close(
            scaled[name], plain[name] - share * params[name], rtol=1e-5, atol=1e-9
        )


def test_entries_without_a_momentum_stay():
    grads, name = draw(1), "0.weight"
    grads[name][2:] = 0
    delta, _ = step(0.2, grads, 1.0)
    assert not delta[name][2:].any()
    assert (delta[name][:2] != 0).all()


def test_entries_whose_momentum_has_faded_stay():
    grads, name = draw(1), "0.weight"
    grads[name][2:] *= 1e-8  # what is left of a momentum after 27 steps
    plain, _ = step(0.0, grads, 1.0)
    scaled, _ = step(0.2, grads, 1.0)
    assert torch.equal(plain[name][2:], scaled[name][2:])
    assert (plain[name][:2] != scaled[name][:2]).all()


def test_tables_are_not_scaled():
    spec = NetworkSpec(
        {"table": ("row", "n")}, {"table": (4, 5)}, io=("row", "n"), tables=("table",)
    )
    params, grads = ({"table": draw(seed)["0.weight"][:4]} for seed in (0, 1))
    plain, _ = step(0.0, grads, 1.0, params, spec)
    scaled, _ = step(0.2, grads, 1.0, params, spec)
    assert torch.equal(plain["table"], scaled["table"])


def test_a_loss_of_another_scale_asks_for_the_same():
    _, slots = step(0.2, draw(1))
    _, other = step(0.2, {n: 1e3 * g for n, g in draw(1).items()})
    for name in MATRICES:
        assert float(other[name]["asked"]) == pytest.approx(float(slots[name]["asked"]))


def under_noise(scaling, seed):
    """Mean loss of a deep MLP whose labels are drawn anew in each step, and how much it grows."""
    torch.manual_seed(seed)
    widths = [16, *[32] * 5]
    hidden = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Linear(32, 4))
    matrices = [p for p in model.parameters() if p.dim() > 1]
    before = [p.norm().item() for p in matrices]
    optimizer = NFNOptimizer(model, checkpoint=NFNRule(NFNRuleConfig(scaling=scaling)))
    generator, found = torch.Generator().manual_seed(seed), []
    for _ in range(300):
        labels = torch.randint(4, (32,), generator=generator)
        optimizer.zero_grad()
        loss = cross_entropy(model(torch.randn(32, 16, generator=generator)), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    grown = [p.norm().item() / size for p, size in zip(matrices, before, strict=True)]
    return sum(found) / len(found), math.prod(grown) ** (1 / len(grown))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_under_noise_matrices_grow_less_and_less_is_lost(seed):
    plain, grown = under_noise(0.0, seed)
    scaled, less = under_noise(NFNRuleConfig.scaling, seed)
    assert less < 0.9 * grown
    assert scaled - math.log(4) < 0.8 * (plain - math.log(4))
