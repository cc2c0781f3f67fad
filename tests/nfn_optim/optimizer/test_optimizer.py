import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn

from nfn_optim import NetworkSpec, NFNOptimizer, NFNRule, load_rule, save_rule
from nfn_optim.symmetry._permute import permute_params, random_permutations


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2)
    )


def backward(model: nn.Module, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    model.zero_grad()
    inputs = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)
    loss = (model(inputs) - 1).square().mean()
    loss.backward()
    return loss.detach()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> list[float]:
    losses = []
    for seed in seeds:
        losses.append(float(backward(model, seed)))
        optimizer.step()
    return losses


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q), name


@pytest.fixture
def other_rule(tmp_path):
    torch.manual_seed(5)
    rule = NFNRule()
    for weight in rule.parameters():
        weight.data.add_(0.1 * torch.randn_like(weight))
    save_rule(rule, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


def test_optimizer_equals_the_functional_rule(other_rule):
    ours, theirs = network(), network()
    optimizer, rule = NFNOptimizer(ours, checkpoint=other_rule, fused=False), load_rule(other_rule)
    params = dict(theirs.named_parameters())
    state = rule.init(params, NetworkSpec.from_module(theirs))
    for seed in range(5):
        backward(ours, seed)
        optimizer.step()
        backward(theirs, seed)
        with torch.no_grad():
            grads = {n: p.grad for n, p in params.items() if p.grad is not None}
            delta, state = rule(params, grads, state)
            for name, param in params.items():
                param += delta[name]
        assert_same(ours, theirs)


@pytest.mark.parametrize("checkpoint", ["default", "small"])
def test_bundled_weights_train(checkpoint):
    model = network()
    losses = train(model, NFNOptimizer(model, checkpoint=checkpoint), range(200))
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m,
        lambda m: m.parameters(),
        lambda m: m.named_parameters(),
        lambda m: [{"params": list(m.parameters())}],
        lambda m: [{"params": list(m[:4].parameters())}, {"params": list(m[4:].parameters())}],
    ],
    ids=["model", "parameters", "named", "group", "groups"],
)
def test_every_way_to_pass_parameters_is_the_same_optimizer(make):
    model, reference = network(), network()
    train(model, NFNOptimizer(make(model)), range(3))
    train(reference, NFNOptimizer(reference), range(3))
    assert_same(model, reference)


def test_round_trip_continues_bit_exactly():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(3))
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    resumed = network()
    resumed.load_state_dict(saved["model"])
    other = NFNOptimizer(resumed)
    other.load_state_dict(saved["optimizer"])
    train(model, optimizer, range(3, 6))
    train(resumed, other, range(3, 6))
    assert_same(model, resumed)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_continue_bit_exactly(copier):
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(2))
    twin, twin_optimizer = copier((model, optimizer))
    train(model, optimizer, range(2, 5))
    train(twin, twin_optimizer, range(2, 5))
    assert_same(model, twin)


def test_permute_then_train_equals_train_then_permute():
    model = network().double()
    spec = NetworkSpec.from_module(model).hnp()
    permutations = random_permutations(spec, torch.Generator().manual_seed(3))
    twin = copy.deepcopy(model)
    twin.load_state_dict(permute_params(spec, dict(twin.named_parameters()), permutations))
    for net, optimizer in [(model, NFNOptimizer(model)), (twin, NFNOptimizer(twin))]:
        for seed in range(5):
            backward(net, seed, torch.float64)
            optimizer.step()
    expected = permute_params(spec, dict(model.named_parameters()), permutations)
    for name, param in twin.named_parameters():
        torch.testing.assert_close(param, expected[name], rtol=0, atol=1e-6, msg=name)


def test_lr_multiplies_the_step_and_schedulers_act_on_it():
    half, full = network(), network()
    start = copy.deepcopy(half)
    for model, lr in ((half, 0.5), (full, 1.0)):
        train(model, NFNOptimizer(model, lr=lr), range(1))
    for s, h, f in zip(start.parameters(), half.parameters(), full.parameters(), strict=True):
        torch.testing.assert_close(2 * (h - s), f - s, rtol=1e-4, atol=1e-6)
    model = network()
    optimizer = NFNOptimizer(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    train(model, optimizer, range(1))
    scheduler.step()
    before = copy.deepcopy(model)
    train(model, optimizer, range(1))
    assert_same(model, before)


def test_maximize_climbs():
    model = network()
    losses = train(model, NFNOptimizer(model, maximize=True), range(20))
    assert losses[-1] > losses[0]


def test_weight_decay_shrinks_weights_by_lr_times_step_size():
    plain, decayed = network(), network()
    train(plain, NFNOptimizer(plain), range(1))
    optimizer = NFNOptimizer(decayed, weight_decay=0.1)
    train(decayed, optimizer, range(1))
    shrink = 0.1 * optimizer.rule.step_size
    for start, p, d in zip(
        network().parameters(), plain.parameters(), decayed.parameters(), strict=True
    ):
        torch.testing.assert_close(d, p - shrink * start)


def test_closure_is_called_with_gradients_and_its_loss_returned():
    model = network()
    optimizer = NFNOptimizer(model)

    def closure():
        assert torch.is_grad_enabled()
        return backward(model, 0)

    assert optimizer.step(closure) == backward(network(), 0)
    assert any(
        (p != q).any() for p, q in zip(model.parameters(), network().parameters(), strict=True)
    )


def test_frozen_and_gradless_parameters_stay():
    model = network()
    model[0].weight.requires_grad_(False)
    optimizer = NFNOptimizer(model)
    backward(model, 0)
    model[3].weight.grad = None
    optimizer.step()
    assert torch.equal(model[0].weight, network()[0].weight)
    assert torch.equal(model[3].weight, network()[3].weight)
    assert not torch.equal(model[5].weight, network()[5].weight)


def test_gradients_are_not_written_to():
    model = network()
    optimizer = NFNOptimizer(model)
    backward(model, 0)
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    optimizer.step()
    for param, grad in zip(model.parameters(), before, strict=True):
        assert torch.equal(param.grad, grad)


def test_bfloat16_parameters_keep_float32_accumulators_through_a_round_trip():
    model = network().bfloat16()
    optimizer = NFNOptimizer(model)
    backward(model, 0, torch.bfloat16)
    optimizer.step()
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for param in model.parameters():
        assert param.dtype == torch.bfloat16
        assert {v.dtype for v in optimizer.state[param].values()} == {torch.float32}


def test_added_group_is_trained():
    model = network()
    optimizer = NFNOptimizer(model[:4])
    optimizer = NFNOptimizer(list(model[:4].parameters()))
    optimizer.add_param_group({"params": model[4:].parameters(), "lr": 0.5})
    train(model, optimizer, range(1))
    assert not torch.equal(model[5].weight, network()[5].weight)


def test_nonfinite_gradients_skip_the_step_and_warn_once():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(2))
    params, state = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict()["state"])
    backward(model, 2)
    model[3].bias.grad[1] = float("nan")
    with pytest.warns(UserWarning, match="because a gradient is not finite") as caught:
        optimizer.step()
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
    assert optimizer.skipped_steps == 2
    assert_same(model, params)
    for position, slots in optimizer.state_dict()["state"].items():
        for key, value in slots.items():
            assert torch.equal(value, state[position][key])


@pytest.mark.parametrize("option", ["lr", "weight_decay"])
def test_negative_options_are_rejected(option):
    with pytest.raises(ValueError, match=f"{option} must be a number that is not negative; got -1"):
        NFNOptimizer(network(), **{option: -1.0})


class Unreadable(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.ones(3, 2))

    def forward(self, x):
        return x[: int(x.sum())] @ self.table


def test_a_module_that_cannot_be_read_is_read_alone_with_one_warning():
    model = Unreadable()
    with pytest.warns(UserWarning, match="forward of 'Unreadable' cannot be traced") as caught:
        optimizer = NFNOptimizer(model)
    assert [warning.filename for warning in caught] == [__file__]
    assert optimizer.coverage().share == 0
    assert optimizer.coverage().spec is None
    model(torch.ones(4, 3)).square().mean().backward()
    optimizer.step()
    assert (model.table < 1).all()


def test_parameters_that_a_spec_leaves_out_are_read_alone():
    model = nn.Sequential(nn.Linear(2, 3), nn.LSTM(3, 3))
    known = NetworkSpec.from_module(model).subset(["0.weight", "0.bias"])
    optimizer = NFNOptimizer(model, spec=known)
    coverage = optimizer.coverage()
    rows = {row.name: row for row in coverage.rows}
    assert coverage.spec is not None
    assert list(coverage.spec.axes) == ["0.weight", "0.bias"]
    assert rows["0.weight"].is_placed
    assert not rows["1.weight_ih_l0"].is_placed
    assert rows["1.weight_ih_l0"].why == "is not in the spec"
    shared = set(optimizer.spec.axes["1.weight_ih_l0"])
    others = [labels for name, labels in optimizer.spec.axes.items() if name != "1.weight_ih_l0"]
    assert not shared & {label for labels in others for label in labels}
    assert shared <= optimizer.spec.pinned


def test_parameters_that_form_no_chain_are_read_alone_with_one_warning():
    params = [torch.ones(3, 2, requires_grad=True), torch.ones(4, 7, requires_grad=True)]
    message = r"'1' of shape \(4, 7\) .* Pass the model itself"
    with pytest.warns(UserWarning, match=message) as caught:
        optimizer = NFNOptimizer(params)
    assert [warning.filename for warning in caught] == [__file__]
    before = [param.detach().clone() for param in params]
    sum(p.square().sum() for p in params).backward()
    optimizer.step()
    assert all((param < old).all() for param, old in zip(params, before, strict=True))


def test_sparse_gradients_are_rejected_and_nothing_changes():
    model = network()
    optimizer = NFNOptimizer(model)
    backward(model, 0)
    model[3].weight.grad = model[3].weight.grad.to_sparse()
    with pytest.raises(RuntimeError, match="the gradient of '3.weight' is sparse"):
        optimizer.step()
    assert_same(model, network())
    assert not optimizer.state


def test_a_group_that_continues_no_chain_leaves_the_others_as_they_are():
    model, reference = network(), network()
    optimizer = NFNOptimizer(list(model.parameters()))
    extra = torch.ones(7, 9, requires_grad=True)
    with pytest.warns(UserWarning, match="form no chain"):
        optimizer.add_param_group({"params": [extra]})
    train(model, optimizer, range(3))
    train(reference, NFNOptimizer(reference), range(3))
    assert_same(model, reference)
    assert [row.is_placed for row in optimizer.coverage().rows] == [True] * 6 + [False]


def test_a_rejected_group_changes_nothing():
    model = network()
    optimizer = NFNOptimizer(list(model.parameters()))
    with pytest.raises(ValueError, match="lr must be a number that is not negative"):
        optimizer.add_param_group({"params": [torch.ones(2, 2, requires_grad=True)], "lr": -1.0})
    assert len(optimizer.param_groups) == 1
    train(model, optimizer, range(1))


def test_state_of_other_weights_is_rejected_and_nothing_changes(other_rule):
    model = network()
    optimizer = NFNOptimizer(model, checkpoint=other_rule)
    train(model, optimizer, range(1))
    own = NFNOptimizer(network())
    with pytest.raises(ValueError, match=r"another rule .* If it is the same, .* version"):
        own.load_state_dict(optimizer.state_dict())
    assert not own.state


def test_state_of_other_parameters_is_rejected():
    small = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    renamed = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Identity(), nn.Linear(3, 1))
    saved = NFNOptimizer(renamed).state_dict()
    with pytest.raises(ValueError, match=r"belongs to parameters .*'3.weight'"):
        NFNOptimizer(small).load_state_dict(saved)
