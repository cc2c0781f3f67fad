"""A rule keeps what its weights read, and goes the same way as one that keeps more."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from nfn_optim import NFNOptimizer, load_rule
from nfn_optim.native import step as native_step
from nfn_optim.native.step import layout_of
from nfn_optim.rules import NFNRule, RuleState
from nfn_optim.rules.constants import SCHEDULE_CHANNELS
from nfn_optim.testing import chain_spec

SPEC = chain_spec([20, 300, 140], [(3, 3), ()])


def untrained():
    return load_rule("untrained").requires_grad_(False)


def draw(spec, seed):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(s, generator=generator) for n, s in spec.stored.items()}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(7, 6), nn.Flatten(), nn.Linear(18, 5), nn.ReLU(), nn.Linear(5, 3)
    )


def backward(model, seed=0):
    inputs = torch.randint(7, (8, 3), generator=torch.Generator().manual_seed(seed))
    model.zero_grad()
    model(inputs).square().mean().backward()


def train(model, optimizer, steps=3):
    for step in range(steps):
        backward(model, step)
        optimizer.step()


def floats(slots):
    """Of a parameter's entries; what is remembered of its neurons is small beside them."""
    return sum(slot.numel() for key, slot in slots.items() if slot.dim() and key != "steep")


@pytest.mark.parametrize("fused", [None, False])
def test_a_rule_that_has_learned_nothing_keeps_two_floats_of_a_matrix_and_three_of_others(fused):
    model = network()
    optimizer = NFNOptimizer(model, checkpoint="untrained", fused=fused)
    train(model, optimizer)
    kept = {n: floats(optimizer.state[p]) / p.numel() for n, p in model.named_parameters()}
    assert kept == {"0.weight": 3, "2.weight": 2, "2.bias": 3, "4.weight": 2, "4.bias": 3}


def test_learned_weights_keep_five():
    model = network()
    optimizer = NFNOptimizer(model, checkpoint="small")
    train(model, optimizer)
    assert {floats(optimizer.state[p]) / p.numel() for p in model.parameters()} == {5}


@pytest.mark.parametrize("name", [name for name, _ in NFNRule().write.named_parameters()])
def test_a_rule_has_learned_where_any_weight_of_its_last_layer_counts(name):
    rule = untrained()
    assert not rule.reads_all
    rule.write.get_parameter(name).view(-1)[-1] = 1.0
    assert rule.reads_all


@pytest.mark.parametrize(
    ("channel", "reads_all"), [(0, 0), (-5, 1), (-4, 1), (-3, 0), (-2, 0), (-1, 0)]
)
def test_a_schedule_reads_momenta_through_trends_alone(channel, reads_all):
    rule = untrained()
    assert rule.schedule.in_features == SCHEDULE_CHANNELS + 5
    rule.schedule.weight[0, channel] = 1.0
    assert rule.reads_all == reads_all


def test_a_rule_that_is_being_learned_reads_all():
    assert load_rule("untrained").requires_grad_().reads_all


@pytest.mark.parametrize("first_share", [0.25, 1.0])
def test_slots_that_nothing_reads_make_no_difference(first_share):
    rule = untrained()
    object.__setattr__(rule.config, "first_share", first_share)
    start = draw(SPEC, 0)
    full = rule.init(start, SPEC)
    few = {n: rule.init_slots(p, 0, rule.reads(SPEC, n)) for n, p in start.items()}
    narrow = RuleState(few, SPEC)
    native = {n: {k: t.clone() for k, t in slot.items()} for n, slot in few.items()}
    params, ours = start, {n: p.clone() for n, p in start.items()}
    for step in range(4):
        grads = draw(SPEC, 1 + step)
        delta, full = rule(params, grads, full)
        found, narrow = rule(params, grads, narrow)
        torch.testing.assert_close(found, delta, rtol=1e-4, atol=1e-6)
        native_step.prepare(rule, ours, grads, native, SPEC).take([(1.0, 1.0)] * len(ours))
        params = {n: p + delta[n] for n, p in params.items()}
    torch.testing.assert_close(ours, params, rtol=1e-3, atol=1e-4)
    for name, slots in narrow.slots.items():
        torch.testing.assert_close(native[name], slots, rtol=1e-3, atol=2e-4)
        kept = {k: full.slots[name][k] for k in slots} | {
            "momenta": full.slots[name]["momenta"][:1]
        }
        torch.testing.assert_close(slots, kept, rtol=1e-4, atol=1e-5)


def test_a_state_with_more_slots_is_gone_on_with():
    model = network()
    more = NFNOptimizer(model, checkpoint=load_rule("untrained").requires_grad_())
    train(model, more)
    twin = deepcopy(model)
    fewer = NFNOptimizer(twin, checkpoint="untrained")
    saved = deepcopy(more.state_dict())
    fewer.load_state_dict(saved)
    torch.testing.assert_close(saved["state"], more.state_dict()["state"], rtol=0, atol=0)
    train(model, more)
    train(twin, fewer)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert floats(fewer.state[twin[2].weight]) == 2 * twin[2].weight.numel()


def test_a_state_with_too_few_slots_is_refused():
    model = network()
    fewer = NFNOptimizer(model, checkpoint="untrained")
    train(model, fewer)
    more = NFNOptimizer(model, checkpoint=load_rule("untrained").requires_grad_())
    with pytest.raises(ValueError, match="slot 'momenta' of .* or of weights that read less"):
        more.load_state_dict(fewer.state_dict())
    assert not more.state


@pytest.mark.parametrize("fused", [None, False])
def test_a_rule_that_learns_after_its_first_step_is_refused(fused):
    model, rule = network(), untrained()
    optimizer = NFNOptimizer(model, checkpoint=rule, fused=fused)
    train(model, optimizer)
    rule.write.bias[0, 0] = 0.5
    before = deepcopy(model.state_dict())
    backward(model)
    with pytest.raises(ValueError, match="slot 'momenta' of parameter '.*' .*needs"):
        optimizer.step()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"fused": False}, {"capturable": True}])
def test_a_rule_that_reads_less_after_some_steps_goes_on_without_the_rest(options):
    models = network(), network()
    rule = load_rule("untrained").requires_grad_()
    optimizers = [
        NFNOptimizer(models[0], checkpoint=rule, **options),
        NFNOptimizer(models[1], checkpoint="untrained", fused=False),
    ]
    for model, optimizer in zip(models, optimizers, strict=True):
        model[0].requires_grad_(False)
        train(model, optimizer)
    rule.requires_grad_(False)
    for model, optimizer in zip(models, optimizers, strict=True):
        train(model, optimizer)
        model[0].requires_grad_()
        train(model, optimizer)
    torch.testing.assert_close(*(m.state_dict() for m in models), rtol=1e-3, atol=1e-4)
    shapes = [
        [{k: x.shape for k, x in o.state[p].items()} for p in m.parameters()]
        for m, o in zip(models, optimizers, strict=True)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.usefixtures("native_step")
def test_sets_of_live_parameters_leave_nothing_behind():
    model = nn.ModuleList(nn.Linear(3, 3) for _ in range(6))
    optimizer = NFNOptimizer(model.parameters(), model=nn.Sequential(*model))
    known = None
    for live in range(1, 2**6):
        for i, layer in enumerate(model):
            for param in layer.parameters():
                param.grad = torch.ones_like(param) if live >> i & 1 else None
        optimizer.step()
        known = known or layout_of.cache_info().currsize
    assert layout_of.cache_info().currsize == known
