"""What a rule does beyond what its meta-training has seen."""

import math
from dataclasses import asdict
from itertools import pairwise

import pytest
import torch

from nfn_optim import NFNRule
from nfn_optim.rules import Limits, NFNRuleConfig
from nfn_optim.rules._limits import trust
from nfn_optim.rules.constants import REACH
from nfn_optim.testing import chain_spec

SPEC = chain_spec([9, 12, 5, 2], [(2, 2), (), ()])
OTHERS = {"horizon": 100.0, "memory": 100.0, "fan_in": 2.0, "weight_size": 0.1, "fan_out": 1.0}


def learned_rule(limits, *, careful=False):
    torch.manual_seed(0)
    config = NFNRuleConfig(limits=limits, careful=careful)
    rule = NFNRule(config).requires_grad_(False)
    for weight in (*rule.write.parameters(), *rule.schedule.parameters()):
        weight += 0.3 * torch.randn_like(weight)
    return rule


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = SPEC.stored.items()
    return {n: torch.randn(s, generator=generator) for n, s in shapes}


def updates_of(rule, steps):
    """What a rule adds as if it had taken so many steps before."""
    params = draw(0)
    state = rule.init(params, SPEC)
    for slot in state.slots.values():
        slot["step"] += steps
    return rule(params, draw(1), state)[0]


def are_equal(one, other):
    return [torch.equal(one[n], other[n]) for n in one]


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_a_limit_changes_steps_beyond_it_and_none_within(name, careful):
    wide = Limits(**{name: 1_000.0})
    limits = (Limits(**{name: OTHERS[name]}), wide, Limits(**{name: 2_000.0}))
    rules = [learned_rule(x, careful=careful) for x in limits]
    beyond, within, also_within = (updates_of(rule, 500) for rule in rules)
    assert all(are_equal(within, also_within))
    assert not all(are_equal(beyond, within))


@pytest.mark.parametrize(("name", "value"), [("horizon", 10.0), ("fan_in", 0.1), ("fan_out", 0.1)])
def test_far_beyond_a_limit_a_rule_is_the_untrained_one(name, value):
    untrained = NFNRule(NFNRuleConfig()).requires_grad_(False)
    found = updates_of(learned_rule(Limits(**{name: value})), 500)
    assert all(are_equal(found, updates_of(untrained, 500)))


def test_a_limit_on_fans_concerns_the_layers_beyond_it():
    rule, untrained = learned_rule(Limits(fan_in=1.0)), NFNRule().requires_grad_(False)
    same = are_equal(updates_of(rule, 500), updates_of(untrained, 500))
    wide = [name for name, shape in SPEC.shapes.items() if math.prod(shape[1:]) > 7]
    assert [n for n, equal in zip(SPEC.names, same, strict=True) if equal] == wide


def test_steps_beyond_a_limit_change_without_a_jump():
    rule = learned_rule(Limits(horizon=100.0))
    found = [torch.cat([d.flatten() for d in updates_of(rule, s).values()]) for s in range(90, 900)]
    changes = [(b - a).norm() / a.norm() for a, b in pairwise(found)]
    assert max(changes) < 0.05


def test_a_careful_rule_takes_steps_that_shrink_beyond_a_limit():
    with_limit, without = (
        learned_rule(limits, careful=True) for limits in (Limits(horizon=10.0), Limits())
    )
    late, usual = updates_of(with_limit, 999), updates_of(without, 999)
    for name in SPEC.names:
        torch.testing.assert_close(late[name], usual[name] / 100)


def test_what_is_learned_counts_in_full_within_and_not_at_all_far_beyond():
    distance = torch.linspace(0, 3 * REACH, 1_000, dtype=torch.float64)
    share = trust(distance)
    assert share[0] == 1
    assert (share[distance >= REACH] == 0).all()
    assert (share.diff() <= 0).all()
    assert share.diff().abs().max() < 0.01
    assert trust(torch.tensor(REACH / 2)) == 0.5


def test_the_distance_adds_up_logs_and_is_zero_within():
    step, fan = torch.tensor([50.0, 100.0, 1_000.0]), torch.tensor([-1.0, 0.0, 2.0])
    found = Limits(horizon=100.0, fan_in=32.0, fan_out=64.0).distance(step, fan, fan)
    expected = torch.tensor(1_000 / 100).log() + 2 + (2 - torch.tensor(2.0).log())
    torch.testing.assert_close(found, torch.stack([0 * expected, 0 * expected, expected]))
    assert not Limits().distance(step, fan, fan).any()


@pytest.mark.parametrize("name", asdict(Limits()))
def test_a_limit_that_is_not_positive_is_named(name):
    with pytest.raises(ValueError, match=f"limits: {name} must be positive; got 0"):
        Limits(**{name: 0})


def test_joined_limits_have_seen_both():
    assert Limits(10, 20, 30, 4, 5).joined(Limits(5, 50, 3, 5, 6)) == Limits(10, 50, 30, 5, 6)
