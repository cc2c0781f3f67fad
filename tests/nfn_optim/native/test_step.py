"""The native step does what `NFNRule.forward` does."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nfn_optim import Heads, NetworkSpec, NFNOptimizer, load_rule
from nfn_optim.native import is_copy
from nfn_optim.native import step as _native
from nfn_optim.native.step._layout import SLOTS, layout_of
from nfn_optim.rules import Limits, NFNRule, NFNRuleConfig, Spectral
from nfn_optim.testing import (
    attention_spec,
    chain_spec,
    chain_specs,
    recurrent_spec,
    residual_spec,
    scattered_spec,
)

pytestmark = pytest.mark.usefixtures("native_step")


def random_rule(hidden=16, **config):
    """A rule whose terms all matter."""
    torch.manual_seed(5)
    rule = NFNRule(NFNRuleConfig(hidden, **config)).requires_grad_(False)
    for weight in rule.parameters():
        weight += 0.1 * torch.randn_like(weight)
    return rule


def draw(spec, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return {n: scale * torch.randn(s, generator=generator) for n, s in spec.stored.items()}


def take(rule, params, grads, slots, spec, rates):
    return _native.prepare(rule, params, grads, slots, spec).take(rates)


def both_ways(
    rule, spec, *, steps=3, num_steps=None, rates=(1.0, 1.0), slots_before=None, gradients=None
):
    """Parameters and slots after some steps, of tensors and natively, from the same start.

    `slots_before` says what is added to slots first, `gradients` what those of a step are.
    """
    start = draw(spec, 0)
    state = rule.init(start, spec, num_steps=num_steps)
    for slot in state.slots.values():
        for key, more in (slots_before or {}).items():
            slot[key] += more
    slots = {n: {k: t.clone() for k, t in slot.items()} for n, slot in state.slots.items()}
    theirs, ours = dict(start), {n: p.clone() for n, p in start.items()}
    for step in range(steps):
        grads = gradients(step) if gradients else draw(spec, step + 1, 0.1)
        delta, state = rule(theirs, grads, state)
        rate, keep = rates
        norms = {n: d.norm() for n, d in delta.items()}
        theirs = {n: keep * p + rate * delta[n] for n, p in theirs.items()}
        found = take(rule, ours, grads, slots, spec, [rates] * len(ours))
        torch.testing.assert_close(dict(zip(ours, found, strict=True)), norms, rtol=1e-3, atol=1e-5)
    return (ours, slots), (theirs, state.slots)


def assert_same_steps(rule, spec, **options):
    (ours, slots), (theirs, their_slots) = both_ways(rule, spec, **options)
    moved = {n: (theirs[n] - p).norm() for n, p in draw(spec, 0).items()}
    for name in ours:
        error = (ours[name] - theirs[name]).norm()
        assert error <= 1e-3 * moved[name] + 1e-6, (name, error, moved[name])
        for key, slot in slots[name].items():
            torch.testing.assert_close(slot, their_slots[name][key], rtol=1e-3, atol=2e-4)


@given(chain_specs(), st.sampled_from([1, 6, 16]), st.booleans(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_chain_takes_the_same_steps(spec, hidden, centred, careful):
    assert_same_steps(random_rule(hidden, centred=centred, careful=careful), spec)


@pytest.mark.parametrize(
    "spec",
    [
        residual_spec(),
        scattered_spec(),
        attention_spec(),
        recurrent_spec(),
        chain_spec([1, 1]),
        chain_spec([784, 32, 10]),
        chain_spec([40, 200, 150, 7]),
        chain_spec([20, 300, 140], [(3, 3), ()]),
        chain_spec([3, 20, 33, 10], [(3, 3), (5,), (7, 7)]),
        chain_spec([3, 20, 33, 10], [(1, 1), (1,), ()]),
        NetworkSpec.from_module(
            nn.Sequential(
                nn.Conv2d(2, 6, 3, bias=False),
                nn.BatchNorm2d(6),
                nn.Conv2d(6, 6, 3, groups=6),
                nn.Conv2d(6, 6, 1, groups=6),
                nn.ReLU(),
                nn.ConvTranspose2d(6, 4, 3),
                nn.Flatten(),
                nn.Linear(4 * 36, 20),
                nn.ReLU(),
                nn.Linear(20, 3),
            )
        ),
    ],
    ids=[
        *(
            "residual",
            "scattered",
            "attention",
            "recurrent",
            "one entry",
            "wide",
            "bands",
            "bands of columns",
            "kernels",
            "kernels of one tap",
        ),
        "kinds of layers",
    ],
)
@pytest.mark.parametrize("centred", [True, False])
def test_any_network_takes_the_same_steps(spec, centred):
    assert_same_steps(random_rule(centred=centred), spec)


@pytest.mark.parametrize("writes", [True, False])
def test_steps_that_follow_agreement_are_the_same(writes):
    rule = random_rule(first_share=1.0)
    if not writes:
        rule = NFNRule(rule.config).requires_grad_(False)
    rule.schedule.weight[:, -2:] = 1.0
    spec = chain_spec([7, 5, 3])
    _, (_, slots) = both_ways(rule, spec, steps=6)
    assert all(abs(slot["agreed"]) > 1e-4 for slot in slots.values())
    assert_same_steps(rule, spec, steps=6)


@pytest.mark.parametrize("rule", [random_rule(), NFNRule().requires_grad_(False)])
@pytest.mark.parametrize("asked", [0.05, 0.004, -0.05])
@pytest.mark.parametrize("steps_before", [0, 1_000])
def test_matrices_are_scaled_alike(rule, asked, steps_before):
    spec, name = chain_spec([5, 6, 3]), "0.weight"
    start = draw(spec, 0)

    def gradients(step):
        grads = draw(spec, step + 1, 0.1)
        grads[name][1] = 0  # a neuron that is dead from the first
        if step >= 5:
            grads[name][2] = 0  # and one that dies: its momentum fades
        return grads

    before = {"asked": asked, "step": steps_before}
    (ours, _), (theirs, _) = both_ways(
        rule, spec, steps=30, slots_before=before, gradients=gradients
    )
    for each in (ours, theirs):
        assert torch.equal(each[name][1], start[name][1])
    for each in spec.stored:
        moved = (theirs[each] - start[each]).norm()
        assert (ours[each] - theirs[each]).norm() < 0.01 * moved


def turned_spec():
    """A table and matrices that are stored with their inputs first, one of them made of heads."""
    return NetworkSpec(
        {"words": ("d", "vocabulary"), "up": ("h", "d"), "down": ("out", "h"), "shift": ("h",)},
        {"words": (6, 11), "up": (150, 6), "down": (160, 150), "shift": (150,)},
        io=("vocabulary", "out"),
        stored={"words": (11, 6), "up": (6, 150), "down": (150, 160)},
        orders=dict.fromkeys(("words", "up", "down"), (1, 0)),
        heads={"h": Heads(3, "heads")},
        tables=("words",),
    )


@pytest.mark.parametrize("centred", [True, False])
def test_matrices_stored_with_inputs_first_take_the_same_steps(centred):
    assert_same_steps(random_rule(centred=centred), turned_spec())


def test_matrices_stored_with_inputs_first_are_not_copied():
    spec = turned_spec()
    assert layout_of(spec, Spectral()).reordered == [None] * len(spec.names) * (2 + len(SLOTS))


@pytest.mark.parametrize(
    "spec", [scattered_spec(), recurrent_spec(), turned_spec(), chain_spec([40, 200, 7])]
)
def test_a_rule_that_has_learned_nothing_takes_the_same_steps(spec):
    assert_same_steps(NFNRule().requires_grad_(False), spec, steps=5)


@pytest.mark.parametrize("name", [name for name, _ in NFNRule().write.named_parameters()])
def test_any_weight_that_is_learned_is_used(name):
    spec = chain_spec([3, 6, 4], [(3, 3), ()])
    rule = NFNRule().requires_grad_(False)
    last = rule.write.get_parameter(name).view(-1)
    last[-1] = 1.0
    assert_same_steps(rule, spec)


@pytest.mark.parametrize("checkpoint", ["default", "small"])
def test_bundled_weights_take_the_same_steps(checkpoint):
    rule = load_rule(checkpoint).requires_grad_(False)
    assert_same_steps(rule, chain_spec([3, 16, 32, 10], [(3, 3), (3, 3), ()]), steps=20)


def test_options_reach_the_native_step():
    spec = chain_spec([5, 8, 3])
    assert_same_steps(random_rule(), spec, num_steps=10, rates=(0.3, 0.98))
    told, untold = (both_ways(random_rule(), spec, num_steps=n)[0][0] for n in (10, None))
    assert not torch.allclose(told["0.weight"], untold["0.weight"])


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize(
    "limits",
    [Limits(), Limits(5_000, 100, 50, 0.1), Limits(2_000, fan_in=1_500, fan_out=4), Limits(100)],
    ids=["none", "memory", "a little beyond", "far beyond"],
)
def test_steps_beyond_limits_are_alike(limits, careful):
    spec = chain_spec([2_000, 8, 3])
    rule = random_rule(limits=limits, careful=careful)
    start = draw(spec, 0)
    state = rule.init(start, spec)
    for slot in state.slots.values():
        slot["step"] += 3_000
    slots = {n: {k: t.clone() for k, t in slot.items()} for n, slot in state.slots.items()}
    ours, grads = {n: p.clone() for n, p in start.items()}, draw(spec, 1)
    delta, _ = rule(start, grads, state)
    take(rule, ours, grads, slots, spec, [(1.0, 0.0)] * len(ours))
    for name in ours:
        torch.testing.assert_close(ours[name], delta[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("rule", [random_rule, lambda: NFNRule().requires_grad_(False)])
def test_threads_share_the_work_and_change_nothing(rule):
    rule, spec = rule(), chain_spec([60, 200, 150, 7], [(3,), (), (2, 2)])
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(both_ways(rule, spec)[0][0])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, rtol=1e-3, atol=1e-5)


def test_numbers_below_normal_ones_are_zero_on_all_threads():
    """Processors take a hundred times as long for such numbers, as products of these rows are."""
    rule, spec = NFNRule().requires_grad_(False), chain_spec([1_024, 32])
    weight, bias = spec.names
    grads = {weight: torch.ones(32, 1_024), bias: torch.zeros(32)}
    grads[weight][1::2] = 1e-35
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.ones(1_000_000).exp()  # threads that take such numbers as they are
            ours = {n: torch.zeros_like(g) for n, g in grads.items()}
            take(rule, ours, grads, rule.init(ours, spec).slots, spec, [(1.0, 1.0)] * 2)
            results.append(ours[weight])
    finally:
        torch.set_num_threads(threads)
    assert results[0].all()
    assert torch.equal(*results)


STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists(), reason="only Linux tells how much memory a process has")
def test_steps_on_several_threads_keep_no_memory():
    """What one thread makes another one may give back."""
    model = nn.Sequential(*[nn.Linear(256, 256, bias=False) for _ in range(8)])
    optimizer = NFNOptimizer(model, checkpoint="untrained", fused=True)
    for param in model.parameters():
        param.grad = torch.randn_like(param)
    threads = torch.get_num_threads()
    pages = []
    try:
        torch.set_num_threads(2)
        for _ in range(3):
            for _ in range(30):
                optimizer.step()
            pages.append(int(STATM.read_text().split()[1]))
    finally:
        torch.set_num_threads(threads)
    assert (pages[2] - pages[1]) * os.sysconf("SC_PAGE_SIZE") < 10e6  # of 30 steps


def test_a_step_is_the_same_every_time():
    rule, spec = random_rule(), chain_spec([60, 200, 7])
    first, second = (both_ways(rule, spec)[0][0] for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_gradients_of_zero_move_nothing():
    rule, spec = load_rule("small").requires_grad_(False), chain_spec([4, 6, 2])
    start = draw(spec, 0)
    ours, slots = {n: p.clone() for n, p in start.items()}, rule.init(start, spec).slots
    take(rule, ours, {n: 0 * p for n, p in start.items()}, slots, spec, [(1.0, 1.0)] * 4)
    for name in ours:
        torch.testing.assert_close(ours[name], start[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("exponent", [-25, -21, -19, -15, 15])
def test_gradients_of_any_size_are_remembered_alike(exponent):
    """Squares of these are below the normal numbers of single precision, or near the largest."""
    rule, spec = NFNRule().requires_grad_(False), chain_spec([30, 20])
    start = {n: torch.zeros(s) for n, s in spec.stored.items()}
    state, theirs = rule.init(start, spec), start
    ours, slots = dict(start), rule.init(start, spec).slots
    for step in range(4):
        grads = {n: 10.0**exponent * g for n, g in draw(spec, step + 1).items()}
        delta, state = rule(theirs, grads, state)
        theirs = {n: p + delta[n] for n, p in theirs.items()}
        take(rule, ours, grads, slots, spec, [(1.0, 1.0)] * len(ours))
    (weight, _) = spec.names
    found, expected = slots[weight]["steep"], state.slots[weight]["steep"]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert found.norm(dim=1).max() < 2


def test_channels_last_is_not_copied_where_nothing_is_learned():
    spec, rule = chain_spec([3, 16, 10], [(3, 3), ()]), NFNRule().requires_grad_(False)
    start = draw(spec, 0)
    start["0.weight"] = start["0.weight"].to(memory_format=torch.channels_last)
    slots = {n: rule.init_slots(p, 0, rule.reads(spec, n)) for n, p in start.items()}
    grads = {n: torch.randn_like(p) for n, p in start.items()}
    step = _native.prepare(rule, start, grads, slots, spec)
    laid = step.layout.laid(step.held)
    assert not start["0.weight"].is_contiguous()
    copied = [b.shape for a, b in zip(laid, step.held, strict=True) if is_copy(a, b)]
    assert copied == [slots["0.weight"]["steep"].shape]


@pytest.mark.parametrize("which", ["value", "gradient", "lead"])
def test_tensors_may_lie_in_different_orders(which):
    spec, rule = chain_spec([3, 16, 10], [(3, 3), ()]), NFNRule().requires_grad_(False)
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        params, grads = draw(spec, 0), draw(spec, 1)
        slots = {n: rule.init_slots(p, 0, rule.reads(spec, n)) for n, p in params.items()}
        at, key = {
            "value": (params, "0.weight"),
            "gradient": (grads, "0.weight"),
            "lead": (slots["0.weight"], "lead"),
        }[which]
        at[key] = at[key].clone(memory_format=memory_format)
        for _ in range(3):
            take(rule, params, grads, slots, spec, [(1.0, 1.0)] * len(params))
        results.append((params, slots))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-5)


def test_momenta_fade_to_zero_and_not_through_numbers_that_cost_a_hundred_times_as_much():
    model = torch.nn.Linear(6, 5)
    optimizer = NFNOptimizer(model, fused=True)
    tiny = torch.finfo(torch.float32).tiny
    for step in range(1_000):
        model.weight.grad, model.bias.grad = torch.zeros(5, 6), torch.ones(5)
        if step == 0:
            model.weight.grad.fill_(1e-9)
        optimizer.step()
    slots = optimizer.state[model.weight]
    for kept in slots.values():
        assert not (kept != 0).logical_and(kept.abs() < tiny).any()
    assert (slots["momenta"] == 0).any()
    assert (torch.tensor([tiny]) * 0.5 > 0).all()  # outside of a step all is as it was


def convolutional(memory_format=torch.contiguous_format):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3).to(memory_format=memory_format)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4, 5))


def train(model, optimizer, steps=5, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        inputs = torch.randn(16, 3, 4, 4, generator=generator, dtype=dtype)
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", [{}, {"lr": 0.5, "weight_decay": 0.1, "maximize": True}])
def test_the_optimizer_takes_the_same_steps(memory_format, options):
    ours, theirs = convolutional(memory_format), convolutional(memory_format)
    fused = NFNOptimizer(ours, fused=True, **options)
    plain = NFNOptimizer(theirs, fused=False, **options)
    train(ours, fused)
    train(theirs, plain)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert fused.stats() == pytest.approx(plain.stats(), rel=1e-3)


def native_steps(monkeypatch):
    """Counts steps that are taken natively."""
    taken, take = [], _native.Step.take
    monkeypatch.setattr(_native.Step, "take", lambda *args: taken.append(1) or take(*args))
    return taken


def test_fused_is_the_default_for_float32(monkeypatch):
    taken = native_steps(monkeypatch)
    model = convolutional()
    train(model, NFNOptimizer(model))
    assert len(taken) == 5


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_take_the_other_way(monkeypatch, dtype):
    taken = native_steps(monkeypatch)
    model = convolutional().to(dtype)
    train(model, NFNOptimizer(model, fused=True), dtype=dtype)
    assert not taken


def test_fused_false_is_the_other_way(monkeypatch):
    taken = native_steps(monkeypatch)
    model = convolutional()
    train(model, NFNOptimizer(model, fused=False))
    assert not taken


def test_autograd_notices_the_step():
    model = nn.Linear(4, 2)
    optimizer = NFNOptimizer(model, fused=True)
    loss = (model(torch.ones(3, 4)) @ model.weight).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("rule", [load_rule("untrained").requires_grad_(False), random_rule()])
def test_a_parameter_that_joins_later_opens_by_itself(rule):
    spec = chain_spec([4, 6, 3])
    params, grads = draw(spec, 0), draw(spec, 1)
    state = rule.init(params, spec)
    name = spec.names[0]
    for n, slot in state.slots.items():
        slot["lead"] = -grads[n]
        slot["opened"] += 0.0 if n == name else 10.0
    slots = {n: {k: t.clone() for k, t in slot.items()} for n, slot in state.slots.items()}
    ours = {n: p.clone() for n, p in params.items()}
    take(rule, ours, grads, slots, spec, [(1.0, 1.0)] * len(ours))
    _, state = rule(params, grads, state)
    assert state.slots[name]["opened"] > 0.5
    assert slots[name]["opened"] == state.slots[name]["opened"]
