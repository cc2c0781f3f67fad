"""A native step of many networks is that of `NFNRule.forward`, and so is the way back."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import vmap

from nfn_optim import NetworkSpec, NFNRule
from nfn_optim.native import taped
from nfn_optim.rules import ElementwiseRule, Limits, NFNRuleConfig
from nfn_optim.testing import (
    attention_spec,
    chain_spec,
    chain_specs,
    recurrent_spec,
    residual_spec,
    scattered_spec,
)

pytestmark = pytest.mark.usefixtures("native_taped")

NETWORKS = 3
SPECS = {
    "residual": residual_spec(),
    "scattered": scattered_spec(),
    "attention": attention_spec(),
    "recurrent": recurrent_spec(),
    "one entry": chain_spec([1, 1]),
    "few columns": chain_spec([3, 40, 1]),
    "bands": chain_spec([20, 140, 135, 7]),
    "kernels": chain_spec([3, 20, 33, 10], [(3, 3), (5,), (7, 7)]),
    "kernels of one tap": chain_spec([3, 5, 4], [(1, 1), (1,)]),
    "kinds of layers": NetworkSpec.from_module(
        nn.Sequential(
            nn.Conv2d(2, 6, 3, bias=False),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 6, 3, groups=6),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 4, 3),
            nn.Flatten(),
            nn.Linear(4 * 36, 20),
        )
    ),
}


def random_rule(**config):
    """A rule whose terms all matter."""
    torch.manual_seed(5)
    rule = NFNRule(NFNRuleConfig(**config))
    with torch.no_grad():
        for weight in rule.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return rule


def draw(spec, generator, scale=1.0, networks=NETWORKS):
    shapes = spec.stored.items()
    return {n: scale * torch.randn(networks, *s, generator=generator) for n, s in shapes}


def run(take, rule, spec, seed, steps=3):
    """Parameters and slots after some steps, and the meta-gradient of where they lead."""
    generator, dtype = torch.Generator().manual_seed(seed), rule.schedule.bias.dtype
    params = {n: p.to(dtype) for n, p in draw(spec, generator).items()}
    state = rule.init(params, spec, num_steps=torch.tensor([0.0, 5.0, 7.0]))
    total = torch.zeros(())
    for _ in range(steps):
        grads = {n: g.to(dtype) for n, g in draw(spec, generator, 0.1).items()}
        inputs = {n: p.detach() for n, p in params.items()}
        delta, state = take(rule, inputs, grads, state)
        params = {n: p + delta[n] for n, p in params.items()}
        for reached in (params, rule.heading(params, state)):
            for n, ahead in draw(spec, generator).items():
                total = total + (reached[n] * ahead).sum()
    theta = list(rule.parameters())
    return params, state, torch.autograd.grad(total, theta, materialize_grads=True)


def step(rule, params, grads, state):
    prepared = taped.prepare(rule)
    return None if prepared is None else prepared.step(params, grads, state)


def by_torch(rule, params, grads, state):
    return rule(params, grads, state)


def assert_same(rule, spec):
    exact = deepcopy(rule).double()
    assert any(errors_are_small(rule, exact, spec, seed) for seed in range(3))


def errors_are_small(rule, exact, spec, seed):
    """Of gradients; where a rectifier is at its kink, rounding turns it, and they jump."""
    params, state, gradients = run(step, rule, spec, seed)
    their_params, their_state, theirs = run(by_torch, rule, spec, seed)
    torch.testing.assert_close(params, their_params, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(state.slots, their_state.slots, rtol=1e-3, atol=2e-4)
    _, _, right = run(by_torch, exact, spec, seed)
    return all(
        (ours - best).norm() <= 5 * (of_torch - best).norm() + 2e-3 * best.norm() + 1e-3
        for ours, of_torch, best in zip(gradients, theirs, right, strict=True)
    )


@pytest.mark.parametrize("name", SPECS)
def test_steps_and_gradients_are_those_of_torch(name):
    assert_same(random_rule(), SPECS[name])


@given(chain_specs(), st.sampled_from([1, 6, 16]))
@settings(max_examples=10, deadline=None)
def test_any_chain_takes_the_same_steps(spec, hidden):
    assert_same(random_rule(hidden=hidden), spec)


@pytest.mark.parametrize(
    "config",
    [
        {"centred": False},
        {"limits": Limits(horizon=2, fan_in=8, fan_out=20)},
        {"careful": True, "limits": Limits(horizon=2, fan_in=8)},
        {"first_share": 1.0},
    ],
    ids=["not centred", "beyond the limits", "careful", "open at once"],
)
def test_all_kinds_of_rules_take_the_same_steps(config):
    assert_same(random_rule(**config), chain_spec([9, 12, 3], [(3,), ()]))


def test_a_rule_that_has_learned_nothing_learns():
    assert_same(NFNRule(), chain_spec([4, 8, 3]))


def one_step(rule, networks=NETWORKS):
    generator, spec = torch.Generator().manual_seed(0), chain_spec([4, 6, 2])
    params, grads = (draw(spec, generator, networks=networks) for _ in range(2))
    return params, grads, rule.init(params, spec)


def test_inputs_stay_as_they_are():
    rule = random_rule()
    inputs = one_step(rule)
    before = [t.clone() for t in torch.utils._pytree.tree_leaves(inputs)]
    step(rule, *inputs)
    assert all(map(torch.equal, before, torch.utils._pytree.tree_leaves(inputs)))


def test_without_gradients_the_step_is_the_same():
    rule = random_rule()
    inputs = one_step(rule)
    delta, state = step(rule, *inputs)
    with torch.no_grad():
        again, again_state = step(rule, *inputs)
    torch.testing.assert_close(delta, again)
    torch.testing.assert_close(state.slots, again_state.slots)


def test_the_way_back_can_be_gone_twice():
    rule = random_rule()
    delta, _ = step(rule, *one_step(rule))
    total = sum(d.sum() for d in delta.values())
    first = torch.autograd.grad(total, rule.read.entry, retain_graph=True)
    assert torch.equal(first[0], torch.autograd.grad(total, rule.read.entry)[0])


def test_what_native_code_does_not_know_is_left_to_torch():
    rule = random_rule()
    params, grads, state = one_step(rule)
    assert step(rule, params, grads, state) is not None
    wide = {n: p.double() for n, p in params.items()}
    assert step(rule, wide, grads, state) is None
    assert step(random_rule().double(), params, grads, state) is None
    assert step(ElementwiseRule(), params, grads, state) is None
    short = {**grads, "0.bias": grads["0.bias"][:2]}
    assert step(rule, params, short, state) is None


@pytest.mark.parametrize("which", [0, 1])
def test_gradients_through_what_the_rule_reads_are_left_to_torch(which):
    rule = random_rule()
    inputs = one_step(rule)
    inputs[which]["0.bias"].requires_grad_()
    assert step(rule, *inputs) is None
    with torch.no_grad():
        assert step(rule, *inputs) is not None


def test_transforms_are_left_to_torch():
    rule = random_rule()
    params, grads, state = one_step(rule)
    found = []

    def one(grad):
        found.append(step(rule, params, {**grads, "0.bias": grad}, state))
        return grad

    vmap(one)(torch.stack([grads["0.bias"]] * 2))
    assert found == [None]


def test_second_derivatives_are_refused():
    rule = random_rule()
    delta, _ = step(rule, *one_step(rule))
    total = sum(d.square().sum() for d in delta.values())
    (first,) = torch.autograd.grad(total, rule.read.entry, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
