"""What an optimizer is made from: a rule in memory, a spec by hand, groups beside their model."""

import copy

import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, NFNOptimizer, NFNRule, SpecError, load_rule
from nfn_optim.rules import ElementwiseRule, NFNRuleConfig


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def random_rule(seed: int = 5) -> NFNRule:
    torch.manual_seed(seed)
    rule = NFNRule(NFNRuleConfig(hidden=4)).requires_grad_(False)
    for weight in rule.parameters():
        weight += 0.1 * torch.randn_like(weight)
    return rule


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(16, 6, generator=generator)).square().mean().backward()
        optimizer.step()


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q), name


class Bilinear(nn.Module):
    """Parameters that no tracer can place: one tensor of two layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Parameter(torch.randn(8, 6) / 6**0.5)
        self.second = nn.Parameter(torch.randn(3, 8) / 8**0.5)
        self.shift = nn.Parameter(torch.zeros(3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 1e9:  # a branch on data, which cannot be traced
            return x
        return torch.tanh(x @ self.first.T) @ self.second.T + self.shift.sum(0)


SPEC = NetworkSpec(
    {"first": ("hidden", "in"), "second": ("out", "hidden")},
    {"first": (8, 6), "second": (3, 8)},
    io=("in", "out"),
)


def test_a_rule_in_memory_is_the_rule_that_steps():
    rule, model = random_rule(), network()
    optimizer = NFNOptimizer(model, checkpoint=rule)
    assert optimizer.rule is rule
    shipped = network()
    train(model, optimizer)
    train(shipped, NFNOptimizer(shipped))
    assert not torch.equal(model[0].weight, shipped[0].weight)


def test_a_rule_in_memory_equals_the_same_rule_from_a_file(tmp_path):
    from nfn_optim import save_rule

    save_rule(random_rule(), tmp_path / "rule.safetensors")
    ours, theirs = network(), network()
    train(ours, NFNOptimizer(ours, checkpoint=random_rule()))
    train(theirs, NFNOptimizer(theirs, checkpoint=tmp_path / "rule.safetensors"))
    assert_same(ours, theirs)


def test_a_rule_in_memory_keeps_whether_it_wants_gradients():
    rule = random_rule().requires_grad_()
    NFNOptimizer(network(), checkpoint=rule)
    assert all(weight.requires_grad for weight in rule.parameters())


def test_a_state_of_another_rule_in_memory_is_refused():
    model = network()
    one, other = (NFNOptimizer(model, checkpoint=random_rule(seed)) for seed in (1, 2))
    train(model, one)
    with pytest.raises(ValueError, match="other|meta-trained weights"):
        other.load_state_dict(one.state_dict())


def test_subclasses_of_the_rule_take_its_place():
    model = network()
    optimizer = NFNOptimizer(model, checkpoint=ElementwiseRule(load_rule().config))
    train(model, optimizer)
    assert optimizer.coverage().share == 1


def test_a_spec_by_hand_covers_what_it_describes():
    model = Bilinear()
    optimizer = NFNOptimizer(model, spec=SPEC)
    driven = {row.name: (row.is_placed, row.why) for row in optimizer.coverage().rows}
    assert driven["first"] == (True, "hidden x in")
    assert driven["shift"] == (False, "is not in the spec")
    before = copy.deepcopy(model)
    train(model, optimizer)
    assert not any(
        torch.equal(p, q) for p, q in zip(model.parameters(), before.parameters(), strict=True)
    )


def test_a_spec_by_hand_serves_named_parameters_without_their_model():
    ours, theirs = Bilinear(), Bilinear()
    train(ours, NFNOptimizer(ours.named_parameters(), spec=SPEC))
    train(theirs, NFNOptimizer(theirs, spec=SPEC))
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NetworkSpec({"third": ("a", "b")}, {"third": (2, 3)}), "'third' .* is not there"),
        (NetworkSpec({"first": ("a", "b")}, {"first": (2, 3)}), r"'first' .* has shape \(8, 6\)"),
    ],
)
def test_a_spec_of_other_parameters_is_refused(spec, message):
    with pytest.raises(SpecError, match=message):
        NFNOptimizer(Bilinear(), spec=spec)


def test_a_spec_that_the_rule_cannot_read_is_refused_at_once():
    model = nn.ParameterDict({"w": torch.randn(2, 3, 4)})
    with pytest.raises(SpecError, match="'w' runs over 3 populations"):
        NFNOptimizer(model, spec=NetworkSpec({"w": ("a", "b", "c")}, {"w": (2, 3, 4)}))


def test_groups_beside_their_model_are_driven_as_the_model_is():
    ours, theirs = network(), network()
    weights = [p for p in ours.parameters() if p.dim() > 1]
    others = [p for p in ours.parameters() if p.dim() < 2]
    groups = [{"params": weights, "lr": 1.0}, {"params": others, "lr": 1.0}]
    optimizer = NFNOptimizer(groups, model=ours)
    assert optimizer.coverage().share == 1
    train(ours, optimizer)
    train(theirs, NFNOptimizer(theirs))
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=name)


def test_a_group_may_be_empty():
    """As of factories that sort parameters into groups, and find none for some."""
    ours, theirs = network(), network()
    params = list(ours.parameters())
    groups = [{"params": []}, {"params": params[:2]}, {"params": []}, {"params": params[2:]}]
    optimizer = NFNOptimizer(groups, model=ours)
    optimizer.add_param_group({"params": []})
    optimizer.load_state_dict(optimizer.state_dict())
    train(ours, optimizer)
    train(theirs, NFNOptimizer(theirs))
    assert_same(ours, theirs)


def test_groups_keep_their_own_decay():
    model = network()
    groups = [
        {"params": [model[0].weight], "weight_decay": 0.5},
        {"params": [model[0].bias, *model[2].parameters()]},
    ]
    optimizer = NFNOptimizer(groups, model=model, lr=0.0)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    optimizer.param_groups[0]["lr"] = 1.0
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    train(model, optimizer, steps=1)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"0.weight"}


def test_parameters_of_no_model_are_told_so():
    model, other = network(), nn.Linear(2, 2)
    groups = [{"params": model.parameters()}, {"params": other.parameters()}]
    optimizer = NFNOptimizer(groups, model=model)
    rows = [row for row in optimizer.coverage().rows if not row.is_placed]
    assert [row.why for row in rows] == ["is not part of the model"] * 2


class Loop(nn.Module):
    """Forward code that cannot be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.ones(20, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for entry in self.entries[: int(x.sum() > 0) + 1]:
            x = x * entry
        return x


def test_a_model_that_is_mostly_read_alone_is_told_of_with_its_modules():
    with pytest.warns(UserWarning, match=r"reads 26% of .* alone what is in '1': ") as caught:
        NFNOptimizer(nn.Sequential(nn.Linear(6, 6), Loop()))
    assert [warning.filename for warning in caught] == [__file__]


def test_modules_are_told_of_by_their_names_inside_wrappers():
    model = nn.DataParallel(nn.Sequential(nn.Linear(6, 6), Loop()))
    with pytest.warns(UserWarning, match="alone what is in '1': "):
        NFNOptimizer(model)


def test_what_is_frozen_or_described_by_hand_is_not_told_of():
    model = nn.Sequential(nn.Linear(6, 6), Loop())
    NFNOptimizer(model, spec=NetworkSpec.from_module(model))
    model[1].requires_grad_(False)
    NFNOptimizer(model)


def test_the_share_that_is_logged_is_of_what_is_trained():
    """As of adapters that are read alone, on a large frozen network that is not."""
    model = nn.Sequential(nn.Linear(6, 6), Loop())
    model[0].requires_grad_(False)
    with pytest.warns(UserWarning, match="reads 0% of the entries that are trained"):
        optimizer = NFNOptimizer(model)
    assert optimizer.stats()["placed_share"] == 0
    assert optimizer.coverage().share > 0
    model[0].requires_grad_(True)
    assert optimizer.stats()["placed_share"] == optimizer.coverage().share
    model.requires_grad_(False)
    assert optimizer.stats()["placed_share"] == 0


def test_one_tensor_is_refused():
    with pytest.raises(
        TypeError, match="iterable of Tensors or dicts; got one tensor. Put it into a list"
    ):
        NFNOptimizer(torch.ones(3, requires_grad=True))


@pytest.mark.parametrize("of", [lambda m: m, lambda m: m.parameters(), lambda m: [m[0].weight]])
def test_lazy_layers_are_to_be_run_before(of):
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    with pytest.raises(ValueError, match=r"parameter '(0|0\.weight)' has no shape yet.* Run the"):
        NFNOptimizer(of(model))
    model(torch.ones(2, 3))
    NFNOptimizer(of(model))
