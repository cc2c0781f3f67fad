import copy
import math

import pytest
import torch
from torch import nn
from torch.func import vmap

from nfn_optim import AdamRule, NetworkSpec, NFNRule, SGDRule, SpecError, UpdateRule
from nfn_optim.rules import ElementwiseRule, NFNRuleConfig, constants
from nfn_optim.rules.constants import CLIP
from nfn_optim.symmetry._permute import permute_params, random_permutations
from nfn_optim.testing import scattered_spec


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)
    ).double()


def gradients(model: nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(inputs).square().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def random_rule(kind: type[NFNRule] = NFNRule, **config: bool) -> NFNRule:
    """A rule that has learned something, also about the trend of gradients."""
    torch.manual_seed(0)
    rule = kind(NFNRuleConfig(**config)).double()
    for weight in (*rule.write.parameters(), rule.schedule.weight[:, -constants.TREND_CHANNELS :]):
        nn.init.normal_(weight, std=0.3)
    return rule


def train(rule: UpdateRule, model: nn.Module, steps: int = 10) -> None:
    params = dict(model.named_parameters())
    state = rule.init(params, NetworkSpec.from_module(model))
    for step in range(steps):
        inputs = torch.randn(
            4, 1, 4, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64
        )
        grads = gradients(model, inputs)
        with torch.no_grad():
            delta, state = rule(params, grads, state)
            for name, param in params.items():
                param += delta[name]


@pytest.mark.parametrize(
    ("rule", "factory"),
    [
        (SGDRule(0.01), lambda p: torch.optim.SGD(p, lr=0.01)),
        (
            SGDRule(0.01, momentum=0.9, weight_decay=0.1),
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
        ),
        (AdamRule(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
        (
            AdamRule(0.01, weight_decay=0.1),
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
        ),
    ],
    ids=["sgd", "momentum", "adam", "adamw"],
)
def test_rule_equals_torch_optimizer(rule, factory):
    ours = network()
    theirs = copy.deepcopy(ours)
    train(rule.double(), ours)
    optimizer = factory(theirs.parameters())
    for step in range(10):
        inputs = torch.randn(
            4, 1, 4, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64
        )
        gradients(theirs, inputs)
        optimizer.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6, msg=name)


class ScheduleFreeMuon:
    """Written as in the paper on schedule-free training: iterate z, average x, gradients at y."""

    def __init__(self, param: torch.Tensor, lr: float) -> None:
        self.z, self.x, self.lr = param.clone(), param.clone(), lr
        self.momentum, self.square, self.steps = torch.zeros_like(param), torch.zeros_like(param), 0

    def step(self, grad: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        self.momentum = (self.momentum + grad) / 2
        self.square = 0.999 * self.square + 0.001 * grad.square()
        self.z = self.z - self.lr * self.direction()
        recency = math.exp(constants.INITIAL_LOG_RECENCY)
        self.x = torch.lerp(self.x, self.z, recency / (recency + self.steps))
        return torch.lerp(self.z, self.x, constants.BETA)

    def direction(self) -> torch.Tensor:
        if self.momentum.dim() < 2:
            mean = self.momentum / (1 - 0.5**self.steps)
            return mean / (self.square / (1 - 0.999**self.steps)).sqrt()
        matrix = self.momentum.flatten(1)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        values = values / values.norm()
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        return (left * values @ right * max(matrix.shape) ** 0.5).view_as(self.momentum)


def test_untrained_rule_without_memory_is_a_schedule_free_muon():
    config = NFNRuleConfig(
        initial_lr=1e-3, relative=0.0, fading=0.0, first_share=1.0, steep=0, scaling=0.0
    )
    model, rule = (
        network(),
        NFNRule(config).double(),
    )
    theirs = {n: ScheduleFreeMuon(p.detach(), 1e-3) for n, p in model.named_parameters()}
    params = dict(model.named_parameters())
    state = rule.init(params, NetworkSpec.from_module(model))
    for step in range(10):
        inputs = torch.randn(
            4, 1, 4, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64
        )
        grads = gradients(model, inputs)
        with torch.no_grad():
            delta, state = rule(params, grads, state)
            for name, param in params.items():
                param += delta[name]
                expected = theirs[name].step(grads[name])
                torch.testing.assert_close(param, expected, rtol=0, atol=1e-7, msg=name)


def test_heading_is_the_iterate_that_the_parameters_average():
    spec, params, grads = stacked_inputs(1)
    rule = random_rule().requires_grad_(False)
    delta, state = rule(params, grads, rule.init(params, spec))
    moved = {n: p + delta[n] for n, p in params.items()}
    heading = rule.heading(moved, state)
    assert all(torch.equal(heading[n], moved[n] + state.slots[n]["lead"]) for n in params)
    assert any(not torch.equal(heading[n], moved[n]) for n in params)


def test_known_length_changes_steps_only_through_the_schedule():
    spec, params, grads = stacked_inputs(1)
    rule = random_rule().requires_grad_(False)
    told, untold = (rule.init(params, spec, num_steps=count) for count in (100, None))
    same = [rule(params, grads, state)[0] for state in (told, untold)]
    assert all(torch.equal(same[0][n], same[1][n]) for n in params)
    nn.init.normal_(rule.schedule.weight)
    other = [rule(params, grads, state)[0] for state in (told, untold)]
    assert all(not torch.equal(other[0][n], other[1][n]) for n in params)


def stacked_inputs(networks: int):
    model = network()
    spec = NetworkSpec.from_module(model)
    params = {
        n: p.detach() + 0.1 * torch.randn(networks, *p.shape, dtype=p.dtype)
        for n, p in model.named_parameters()
    }
    grads = {n: torch.randn_like(p) for n, p in params.items()}
    return spec, params, grads


@pytest.mark.parametrize(
    "rule",
    [
        random_rule(),
        random_rule(centred=False, careful=True),
        random_rule(kind=ElementwiseRule),
        AdamRule(0.1),
        SGDRule(0.1, momentum=0.9),
    ],
    ids=["nfn", "as before version 6", "elementwise", "adam", "sgd"],
)
def test_stacked_networks_equal_a_loop_and_vmap(rule):
    spec, params, grads = stacked_inputs(3)
    state, loop, mapped = rule.init(params, spec), [], None
    states = [rule.init({n: p[i] for n, p in params.items()}, spec) for i in range(3)]
    mapped_state = vmap(lambda p: rule.init(p, spec))(params)
    for _ in range(3):
        delta, state = rule(params, grads, state)
        mapped, mapped_state = vmap(lambda p, g, s: rule(p, g, s))(params, grads, mapped_state)
        loop = []
        for i in range(3):
            one, states[i] = rule(
                {n: p[i] for n, p in params.items()}, {n: g[i] for n, g in grads.items()}, states[i]
            )
            loop.append(one)
    for name in spec.names:
        torch.testing.assert_close(delta[name], torch.stack([one[name] for one in loop]))
        torch.testing.assert_close(delta[name], mapped[name])


def scattered_inputs(networks: int):
    spec = scattered_spec()
    params, grads = (
        {n: torch.randn(networks, *s, dtype=torch.float64) for n, s in spec.stored.items()}
        for _ in range(2)
    )
    return spec, params, grads


@pytest.mark.parametrize("inputs", [stacked_inputs, scattered_inputs])
def test_rule_commutes_with_renumbering_neurons(inputs):
    spec, params, grads = inputs(2)
    rule = random_rule()
    permutations = random_permutations(spec, torch.Generator().manual_seed(1))

    def moved(tensors):
        return permute_params(spec, tensors, permutations)

    state, other = rule.init(params, spec), rule.init(moved(params), spec)
    for _ in range(3):
        delta, state = rule(params, grads, state)
        expected, other = rule(moved(params), moved(grads), other)
    for name, value in moved(delta).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("inputs", [stacked_inputs, scattered_inputs])
def test_slices_of_large_weights_change_nothing(monkeypatch, inputs):
    spec, params, grads = inputs(2)
    rule = random_rule()
    whole, _ = rule(params, grads, rule.init(params, spec))
    monkeypatch.setattr("nfn_optim.rules._nfn._SLICE_ENTRIES", 7)
    sliced, _ = rule(params, grads, rule.init(params, spec))
    for name in spec.names:
        torch.testing.assert_close(whole[name], sliced[name])


@pytest.mark.parametrize(("kind", "reacts"), [(NFNRule, True), (ElementwiseRule, False)])
def test_only_the_nfn_rule_sees_other_parameters(kind, reacts):
    spec, params, grads = stacked_inputs(1)
    rule = random_rule(kind=kind)
    delta, _ = rule(params, grads, rule.init(params, spec))
    other = grads | {"5.weight": grads["5.weight"].roll(1, -1)}
    changed, _ = rule(params, other, rule.init(params, spec))
    assert bool((delta["0.weight"] != changed["0.weight"]).any()) is reacts


def test_rule_notices_uncoupled_renumbering():
    spec, params, grads = stacked_inputs(1)
    rule = random_rule()
    one = {n: p[0] for n, p in params.items()}
    gradient = {n: g[0] for n, g in grads.items()}
    order = torch.tensor([1, 0, 2, 3, 4])
    delta, _ = rule(one, gradient, rule.init(one, spec))
    moved = one | {"3.weight": one["3.weight"][order]}
    shifted = gradient | {"3.weight": gradient["3.weight"][order]}
    uncoupled, _ = rule(moved, shifted, rule.init(moved, spec))
    assert (delta["3.weight"][order] - uncoupled["3.weight"]).abs().max() > 1e-6


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_rule_ignores_the_scale_of_the_loss(factor):
    spec, params, grads = stacked_inputs(1)
    rule = random_rule()
    state, scaled = rule.init(params, spec), rule.init(params, spec)
    for _ in range(3):
        delta, state = rule(params, grads, state)
        other, scaled = rule(params, {n: factor * g for n, g in grads.items()}, scaled)
    for name in spec.names:
        torch.testing.assert_close(delta[name], other[name], rtol=1e-9, atol=1e-12)


def test_steps_are_bounded_whatever_the_weights():
    spec, params, grads = stacked_inputs(1)
    rule = random_rule()
    for weight in rule.parameters():
        weight.data.mul_(100)
    rule.schedule.weight.data.zero_()
    rule.schedule.bias.data.zero_()
    delta, _ = rule(params, {n: 1e12 * g for n, g in grads.items()}, rule.init(params, spec))
    largest = math.exp(constants.MAX_LOG_MAGNITUDE) * CLIP
    assert all(d.isfinite().all() and d.abs().max() <= largest for d in delta.values())


@pytest.mark.parametrize("inputs", [stacked_inputs, scattered_inputs])
@pytest.mark.parametrize("kind", [NFNRule, ElementwiseRule])
def test_rule_compiles_as_one_graph(kind, inputs):
    spec, params, grads = inputs(1)
    rule = random_rule(kind=kind).requires_grad_(False)
    _, state = rule(params, grads, rule.init(params, spec))
    expected, _ = rule(params, grads, state)
    delta, _ = torch.compile(rule, fullgraph=True, backend="eager")(params, grads, state)
    for name in spec.names:
        torch.testing.assert_close(delta[name], expected[name])


def test_state_is_untouched_by_a_step():
    spec, params, grads = stacked_inputs(1)
    rule = random_rule().requires_grad_(False)
    _, state = rule(params, grads, rule.init(params, spec))
    before = copy.deepcopy(state.slots)
    rule(params, grads, state)
    for name, slots in before.items():
        for key, value in slots.items():
            assert torch.equal(value, state.slots[name][key])


def test_init_infers_a_chain_without_a_spec():
    params = {n: p.detach() for n, p in network().named_parameters()}
    assert AdamRule(0.1).init(params).spec.axes["3.weight"] == ("h2", "h1", None)


def test_init_names_parameters_missing_in_the_spec():
    spec, params, _ = stacked_inputs(1)
    with pytest.raises(SpecError, match=r"1 of 7 parameters have no axes in the spec: \['extra'\]"):
        NFNRule().init(params | {"extra": torch.zeros(1, 2)}, spec)


def test_init_rejects_parameters_that_are_stacked_unequally():
    spec, params, _ = stacked_inputs(2)
    with pytest.raises(SpecError, match="stack all of them alike"):
        AdamRule(0.1).init(params | {"3.bias": params["3.bias"][0]}, spec)
