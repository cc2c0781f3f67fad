"""Steps become smaller as gradients do."""

import math

import pytest
import torch

from nfn_optim import NFNOptimizer, NFNRule
from nfn_optim.rules import NFNRuleConfig
from nfn_optim.testing import chain_spec

SPEC = chain_spec([6, 8, 3])


def step_sizes(scales, **config):
    """Root mean square of the fast iterate's steps under the same gradient at different scales."""
    shape = NFNRuleConfig(relative=0.0, first_share=1.0, steep=0, scaling=0.0, **config)
    rule = NFNRule(shape).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    params, grads = (
        {
            n: torch.randn(s, generator=generator, dtype=torch.float64)
            for n, s in SPEC.stored.items()
        }
        for _ in range(2)
    )
    state, sizes = rule.init(params, SPEC), []
    for scale in scales:
        before = rule.heading(params, state)["0.weight"]
        delta, state = rule(params, {n: scale * g for n, g in grads.items()}, state)
        params = {n: p + delta[n] for n, p in params.items()}
        moved = rule.heading(params, state)["0.weight"] - before
        sizes.append(moved.square().mean().sqrt().item())
    return sizes


def test_steps_under_gradients_of_one_size_stay():
    sizes = step_sizes([1.0] * 30)
    assert sizes == pytest.approx([sizes[0]] * 30)


def test_steps_follow_gradients_down_with_the_exponent():
    sizes = step_sizes([1.0] * 5 + [1e-2] * 300)
    assert sizes[-1] == pytest.approx(sizes[0] * 1e-2**0.5, rel=1e-3)
    unfaded = step_sizes([1.0] * 5 + [1e-2] * 300, fading=0.0)
    assert unfaded[-1] == pytest.approx(unfaded[0])


def test_steps_return_with_the_gradients():
    sizes = step_sizes([1.0] * 5 + [1e-2] * 100 + [1.0] * 200)
    assert sizes[-1] == pytest.approx(sizes[0], rel=1e-3)


def test_the_scale_of_the_loss_does_not_matter():
    scales = [0.8**i for i in range(40)]
    assert step_sizes([1e6 * s for s in scales]) == pytest.approx(step_sizes(scales))


def test_steps_fade_no_further_than_the_limit():
    sizes = step_sizes([1.0] + [0.0] * 400)
    assert sizes[0] > 0
    assert all(math.isfinite(size) for size in sizes)


def test_a_problem_without_noise_comes_to_an_end():
    """A quadratic, to whose minimum steps of one size do not come near."""

    def distance(fading):
        torch.manual_seed(0)
        model = torch.nn.Linear(8, 8, bias=False)
        target = torch.randn(8, 8)
        rule = NFNRule(NFNRuleConfig(fading=fading)).requires_grad_(False)
        optimizer = NFNOptimizer(model, checkpoint=rule)
        for _ in range(1_500):
            optimizer.zero_grad()
            (model.weight - target).square().sum().backward()
            optimizer.step()
        return (model.weight - target).norm().item()

    assert distance(0.5) < 0.2 * distance(0.0)
