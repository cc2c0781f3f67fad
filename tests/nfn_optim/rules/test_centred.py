"""NF-Layers write how large steps are beside each other, and the pace how large they all are."""

import math

import pytest
import torch
from torch import nn

from nfn_optim import NFNRule
from nfn_optim.rules import ElementwiseRule, NFNRuleConfig
from nfn_optim.rules.constants import CLIP, MAX_LOG_MAGNITUDE, TREND_CHANNELS
from nfn_optim.testing import chain_spec, recurrent_spec, scattered_spec

SPECS = [chain_spec([3, 8, 7, 4], [(3, 3), (1,), ()]), scattered_spec(), recurrent_spec()]
CHAIN = chain_spec([6, 8, 3])


def plain(**config):
    """Steps open at once, and matrices are not scaled beside them."""
    return NFNRuleConfig(first_share=1.0, scaling=0.0, **config)


def written_rule(kind=NFNRule, std=0.05, **config):
    """A rule whose layers write something; its pace is that of an untrained one."""
    torch.manual_seed(0)
    rule = kind(plain(**config)).double().requires_grad_(False)
    for weight in rule.write.parameters():
        nn.init.normal_(weight, std=std)
    return rule


def untrained_rule(**config):
    return NFNRule(plain(**config)).double().requires_grad_(False)


def draw(spec, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return {
        n: scale * torch.randn(s, generator=generator, dtype=torch.float64)
        for n, s in spec.stored.items()
    }


def steps_of(rule, spec, scales=(1.0, 1.0)):
    """The last of some steps that the fast iterate takes, under gradients of these scales."""
    params = draw(spec, 0)
    state = rule.init(params, spec)
    for seed, scale in enumerate(scales):
        before = rule.heading(params, state)
        delta, state = rule(params, draw(spec, seed + 1, scale), state)
        params = {n: p + delta[n] for n, p in params.items()}
    after = rule.heading(params, state)
    return {n: before[n] - after[n] for n in params}


def log_sizes(rule, spec, beside, **options):
    """Logs of a rule's steps beside those of another one in the same directions."""
    ours, theirs = (steps_of(r, spec, **options) for r in (rule, beside))
    return {n: (ours[n] / theirs[n]).log() for n in ours}


@pytest.mark.parametrize("spec", SPECS, ids=["chain", "scattered", "recurrent"])
@pytest.mark.parametrize("kind", [NFNRule, ElementwiseRule])
def test_the_geometric_mean_of_a_parameters_steps_is_that_of_the_pace(kind, spec):
    for name, logs in log_sizes(written_rule(kind), spec, untrained_rule()).items():
        assert logs.mean().item() == pytest.approx(0, abs=1e-6), name
        assert logs.numel() == 1 or logs.std() > 1e-3, name


def test_the_pace_moves_the_geometric_mean():
    rule = written_rule()
    rule.schedule.bias[0] += 0.5
    for logs in log_sizes(rule, CHAIN, untrained_rule()).values():
        assert logs.mean().item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["bias", "network"])
@pytest.mark.parametrize(("centred", "kept"), [(True, True), (False, False)])
def test_what_is_added_to_all_magnitudes_of_a_parameter_changes_nothing(name, centred, kept):
    rule, other = (written_rule(centred=centred) for _ in range(2))
    other.write.get_parameter(name)[:, 0] += 0.3
    ours, theirs = (steps_of(r, CHAIN) for r in (rule, other))
    assert all(torch.allclose(ours[n], theirs[n], rtol=1e-9) is kept for n in ours)


def test_recencies_may_be_moved_as_a_whole():
    rule, other = (written_rule() for _ in range(2))
    other.write.bias[:, 1] += 1.0
    params, grads = draw(CHAIN, 0), draw(CHAIN, 1)
    ours, theirs = (r(params, grads, r.init(params, CHAIN))[0] for r in (rule, other))
    assert all(not torch.allclose(ours[n], theirs[n]) for n in params)


def test_a_neuron_by_itself_takes_steps_of_the_pace():
    spec = chain_spec([1, 1])
    ours, theirs = (steps_of(r, spec) for r in (written_rule(std=3.0), untrained_rule()))
    torch.testing.assert_close(ours, theirs)


def test_sizes_stay_within_the_largest_magnitude():
    sizes = log_sizes(written_rule(std=100.0), CHAIN, untrained_rule())
    largest = max(logs.abs().max().item() for logs in sizes.values())
    assert largest == pytest.approx(MAX_LOG_MAGNITUDE)


def test_centring_costs_the_layers_no_other_gradient():
    rule = written_rule().requires_grad_(True)
    params, grads = draw(CHAIN, 0), draw(CHAIN, 1)
    delta, _ = rule(params, grads, rule.init(params, CHAIN))
    sum((d * d).sum() for d in delta.values()).backward()
    assert rule.write.bias.grad[:, 0].abs().max() < 1e-12
    assert rule.write.bias.grad[:, 1].abs().min() > 0
    assert rule.write.entry.grad.abs().min() > 0


def trusting_rule(weight=1.0):
    """A rule whose steps follow the trend of gradients, and nothing else."""
    rule = untrained_rule(fading=0.0)
    rule.schedule.weight[0, -TREND_CHANNELS:] = weight
    return rule


def test_gradients_that_agree_have_another_pace_than_those_that_do_not():
    rule, beside = trusting_rule(), untrained_rule(fading=0.0)
    first = log_sizes(rule, CHAIN, beside, scales=[1.0])
    later = log_sizes(rule, CHAIN, beside, scales=[1.0] * 40)
    assert all(logs.abs().max() < 1e-3 for logs in first.values())
    assert all(logs.max() < -0.3 for logs in later.values())


@pytest.mark.parametrize("scales", [[1e-12, 1e12], [1e12, 1e-12], [0.0, 1.0], [1.0, 0.0, 0.0]])
def test_the_trend_can_ask_for_no_more_than_its_bound(scales):
    for logs in log_sizes(
        trusting_rule(), CHAIN, untrained_rule(fading=0.0), scales=scales
    ).values():
        finite = logs[~logs.isnan()]
        assert finite.abs().max() <= TREND_CHANNELS * CLIP + 1e-9
        assert math.isfinite(finite.sum())
