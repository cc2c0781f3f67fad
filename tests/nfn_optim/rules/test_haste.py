"""A parameter's steps follow how its gradients agree with where they lead."""

import pytest
import torch

from nfn_optim import NFNRule
from nfn_optim.rules import Limits, NFNRuleConfig
from nfn_optim.rules.constants import AGREED_DECAY, MOST_HASTENED
from nfn_optim.testing import chain_spec

SPEC = chain_spec([6, 5, 4])
AT_ONCE = NFNRuleConfig(first_share=1.0)


def hasty(haste=0.5, config=AT_ONCE):
    rule = NFNRule(config).double().requires_grad_(False)
    rule.schedule.bias[2] = haste
    return rule


def draw(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = SPEC.stored.items()
    return {
        n: scale * torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes
    }


def follow(rule, gradients, params=None):
    """The state after each of these gradients."""
    params = params or draw(0)
    state, states = rule.init(params, SPEC), []
    for grads in gradients:
        _, state = rule(params, grads, state)
        states.append(state.slots)
    return states


def slot(states, key, name="0.weight"):
    return [float(slots[name][key]) for slots in states]


def test_a_rule_that_has_learned_nothing_only_watches():
    states = follow(hasty(0.0), [draw(1)] * 6)
    assert min(slot(states[1:], "agreed")) > 0
    assert slot(states, "hastened") == [0.0] * 6


def test_agreement_is_the_mean_cosine_of_descent_and_lead():
    name, gradients = "0.weight", [draw(1), draw(2), draw(3)]
    expected, lead = 0.0, torch.zeros_like(gradients[0][name])
    states = follow(hasty(0.0), gradients)
    for grads, slots in zip(gradients, states, strict=True):
        if lead.any():
            cosine = -(grads[name] * lead).sum() / (grads[name].norm() * lead.norm())
            expected += (1 - AGREED_DECAY) * (float(cosine) - expected)
        assert float(slots[name]["agreed"]) == pytest.approx(expected, abs=1e-6)
        lead = slots[name]["lead"]


def test_steps_become_larger_where_gradients_stay_and_smaller_where_they_turn():
    stay = follow(hasty(), [draw(1)] * 12)
    turn = follow(hasty(), [draw(1, (-1.0) ** k) for k in range(12)])
    assert slot(stay, "hastened") == sorted(slot(stay, "hastened"))
    assert slot(stay, "hastened")[-1] > 0.5
    assert slot(turn, "hastened")[-1] < -0.5


def test_a_step_is_larger_by_as_much_as_it_hastens():
    rule, params = hasty(), draw(0)
    ahead = follow(rule, [draw(1)] * 8)[-1]
    level = {n: {**s, "hastened": torch.zeros_like(s["hastened"])} for n, s in ahead.items()}

    def moved(rule, slots):
        """What the fast iterates of both go down by."""
        state = rule.init(params, SPEC)
        for name, own in state.slots.items():
            own.update(slots[name])
        before = rule.heading(params, state)
        delta, state = rule(params, draw(1), state)
        after = rule.heading({n: p + delta[n] for n, p in params.items()}, state)
        return {n: before[n] - after[n] for n in params}

    large, small = (moved(hasty(0.0), slots) for slots in (ahead, level))
    for name, slots in ahead.items():
        assert slots["hastened"] > 0.2
        torch.testing.assert_close(large[name], small[name] * slots["hastened"].exp())


def test_each_parameter_follows_its_own_gradients():
    gradients = [{**draw(1), "0.weight": (-1.0) ** k * draw(1)["0.weight"]} for k in range(12)]
    states = follow(hasty(), gradients)
    assert slot(states, "hastened")[-1] < 0 < slot(states, "hastened", "1.weight")[-1]


@pytest.mark.parametrize("sign", [1, -1])
def test_there_is_an_end_to_haste(sign):
    gradients = [draw(1, float(sign) ** k) for k in range(60)]
    (last,) = slot(follow(hasty(5.0), gradients), "hastened")[-1:]
    assert abs(last) == pytest.approx(MOST_HASTENED)


def test_steps_that_are_opening_do_not_follow():
    rule = hasty(config=NFNRuleConfig())
    states = follow(rule, [draw(1 + seed) for seed in range(4)])
    assert max(slot(states, "opened")) < 1
    assert slot(states, "hastened") == [0.0] * 4


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_loss_does_not_matter(scale):
    seeds = (1, 1, 2, 3, 1)
    plain, scaled = (follow(hasty(), [draw(s, c) for s in seeds]) for c in (1.0, scale))
    assert slot(scaled, "hastened") == pytest.approx(slot(plain, "hastened"), rel=1e-4)


def test_gradients_of_zero_neither_agree_nor_disagree():
    states = follow(hasty(), [draw(1, 0.0)] * 3)
    assert slot(states, "agreed") == [0.0] * 3
    assert all(slots[n]["hastened"] == 0 for slots in states for n in slots)


def test_beyond_the_limits_there_is_no_haste():
    rule = hasty(config=NFNRuleConfig(first_share=1.0, limits=Limits(horizon=100.0)))
    state = rule.init(draw(0), SPEC)
    for own in state.slots.values():
        own.update(step=own["step"] + 1e9, agreed=own["agreed"] + 0.5)
    _, state = rule(draw(0), draw(1), state)
    assert all(slots["hastened"] == 0 for slots in state.slots.values())


def test_backpropagation_learns_nothing_of_haste():
    rule = NFNRule(AT_ONCE).double()
    params, total = draw(0), torch.zeros((), dtype=torch.float64)
    state = rule.init(params, SPEC)
    for _ in range(4):
        delta, state = rule(params, draw(1), state)
        total = total + sum(d.square().sum() for d in delta.values())
    gradient = torch.autograd.grad(total, rule.schedule.weight)[0]
    assert gradient[0].any()
    assert not gradient[2].any()


def test_steps_that_are_too_small_grow_until_they_suit():
    """On a bowl, from a step size a tenth of what suits it."""

    def reached(haste):
        rule = NFNRule(NFNRuleConfig(first_share=1.0, initial_lr=2e-3)).double()
        rule = rule.requires_grad_(False)
        rule.schedule.bias[2] = haste
        params, target = draw(0), draw(5)
        state = rule.init(params, SPEC)
        for _ in range(100):
            grads = {n: p - target[n] for n, p in params.items()}
            delta, state = rule(params, grads, state)
            params = {n: p + delta[n] for n, p in params.items()}
        return sum(float((p - target[n]).square().sum()) for n, p in params.items())

    assert reached(0.1) < 0.5 * reached(0.0)
