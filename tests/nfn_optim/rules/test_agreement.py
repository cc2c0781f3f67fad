"""Whether gradients agree with where steps lead, and what the pace makes of it."""

import math

import pytest
import torch

from nfn_optim import NFNRule
from nfn_optim.rules import NFNRuleConfig
from nfn_optim.rules.constants import AGREED_DECAY, AGREED_UNIT, CLIP
from nfn_optim.testing import chain_spec

SPEC = chain_spec([6, 5, 4])
AT_ONCE = NFNRuleConfig(first_share=1.0)


def reading(weight, config=AT_ONCE):
    """A rule whose log step sizes are so many times the agreement, in its unit."""
    rule = NFNRule(config).double().requires_grad_(False)
    rule.schedule.weight[0, -2:] = weight
    return rule


def draw(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = SPEC.stored.items()
    return {n: scale * torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes}


def follow(rule, gradients):
    """The slots after each of these gradients."""
    params, found = draw(0), []
    state = rule.init(params, SPEC)
    for grads in gradients:
        _, state = rule(params, grads, state)
        found.append(state.slots)
    return found


def agreed(found, name="0.weight"):
    return [float(slots[name]["agreed"]) for slots in found]


def test_agreement_is_the_mean_cosine_of_descent_and_lead():
    name, gradients = "0.weight", [draw(1), draw(2), draw(3)]
    expected, lead = 0.0, torch.zeros_like(gradients[0][name])
    found = follow(reading(0.0), gradients)
    for grads, slots in zip(gradients, found, strict=True):
        if lead.any():
            cosine = -(grads[name] * lead).sum() / (grads[name].norm() * lead.norm())
            expected += (1 - AGREED_DECAY) * (float(cosine) - expected)
        assert float(slots[name]["agreed"]) == pytest.approx(expected, abs=1e-6)
        lead = slots[name]["lead"]
    assert expected != 0


def test_gradients_that_stay_agree_and_those_that_turn_do_not():
    stay = agreed(follow(reading(0.0), [draw(1)] * 12))
    turn = agreed(follow(reading(0.0), [draw(1, (-1.0) ** k) for k in range(12)]))
    assert turn[-1] < -0.02 < 0.02 < stay[-1]
    assert stay == sorted(stay)


def test_each_parameter_has_its_own():
    name, steps = "0.weight", range(12)
    found = follow(reading(0.0), [{**draw(1), name: draw(1, (-1.0) ** k)[name]} for k in steps])
    assert agreed(found)[-1] < 0 < agreed(found, "1.weight")[-1]


def test_it_is_taken_in_while_steps_open_too():
    turned = [draw(1, (-1.0) ** k) for k in range(12)]
    slots = follow(reading(0.0, NFNRuleConfig()), turned)[-1]["0.weight"]
    assert slots["opened"] < math.log(4)
    assert slots["agreed"] < -0.02


@pytest.mark.parametrize("weight", [2.0, -2.0])
def test_the_pace_makes_steps_larger_by_it(weight):
    slots = follow(reading(0.0), [draw(1)] * 12)[-1]

    def moved(weight):
        """What the fast iterates go down by."""
        rule, params = reading(weight), draw(0)
        state = rule.init(params, SPEC)
        for name, own in state.slots.items():
            own.update(slots[name])
        before = rule.heading(params, state)
        delta, state = rule(params, draw(1), state)
        after = rule.heading({n: p + delta[n] for n, p in params.items()}, state)
        known = {n: float(slot["agreed"]) for n, slot in state.slots.items()}
        return {n: before[n] - after[n] for n in params}, known

    (other, known), (plain, _) = moved(weight), moved(0.0)
    for name, agreement in known.items():
        assert agreement > 0.01
        expected = plain[name] * math.exp(weight * agreement / AGREED_UNIT)
        torch.testing.assert_close(other[name], expected, rtol=1e-5, atol=1e-8)


def test_what_the_pace_reads_is_bounded():
    rule, params = reading(1.0), draw(0)
    state = rule.init(params, SPEC)
    for slot in state.slots.values():
        slot["agreed"] += 1.0
    first, _ = rule(params, draw(1), state)
    second, _ = reading(0.0)(params, draw(1), state)
    for name in params:
        torch.testing.assert_close(first[name], second[name] * math.exp(CLIP))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_loss_does_not_matter(scale):
    seeds = (1, 1, 2, 3, 1)
    plain, scaled = (follow(reading(1.0), [draw(s, c) for s in seeds]) for c in (1.0, scale))
    assert agreed(scaled) == pytest.approx(agreed(plain), rel=1e-4)


def test_gradients_of_zero_neither_agree_nor_disagree():
    assert agreed(follow(reading(1.0), [draw(1, 0.0)] * 3)) == [0.0] * 3


def test_a_rule_that_reads_it_keeps_no_more_than_one_that_has_learned_nothing():
    assert not reading(1.0).reads_all
    assert reading(1.0).reads_alone


def test_backpropagation_learns_what_to_make_of_it():
    rule = NFNRule(AT_ONCE).double()
    params, total = draw(0), torch.zeros((), dtype=torch.float64)
    state = rule.init(params, SPEC)
    for _ in range(4):
        delta, state = rule(params, draw(1), state)
        total = total + sum(d.square().sum() for d in delta.values())
    gradient = torch.autograd.grad(total, rule.schedule.weight)[0]
    assert gradient[0, -2] != 0


def test_steps_that_are_too_small_grow_until_they_suit():
    """On a bowl, from a step size a tenth of what suits it."""

    def reached(weight):
        rule = reading(weight, NFNRuleConfig(first_share=1.0, initial_lr=2e-3))
        params, target = draw(0), draw(5)
        state = rule.init(params, SPEC)
        for _ in range(100):
            grads = {n: p - target[n] for n, p in params.items()}
            delta, state = rule(params, grads, state)
            params = {n: p + delta[n] for n, p in params.items()}
        return sum(float((p - target[n]).square().sum()) for n, p in params.items())

    assert reached(1.0) < 0.5 * reached(0.0)
