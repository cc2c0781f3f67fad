"""States and parameters of other shapes are refused by name, at load and at the step."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from nfn_optim import NFNOptimizer

FUSED = pytest.mark.parametrize("fused", [None, False])


def linear(n_in, n_out):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n_in, n_out, bias=False))


def backward(model):
    for param in model.parameters():
        param.grad = torch.ones_like(param)


def after_a_step(model, fused=None):
    optimizer = NFNOptimizer(model, fused=fused)
    backward(model)
    optimizer.step()
    return optimizer


def assert_refuses(optimizer, call, match):
    """The call raises, and afterwards parameters and state are what they were."""
    params = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
    state = deepcopy(optimizer.state_dict()["state"])
    with pytest.raises(ValueError, match=match):
        call()
    after = [p for group in optimizer.param_groups for p in group["params"]]
    assert all(map(torch.equal, after, params))
    torch.testing.assert_close(optimizer.state_dict()["state"], state, rtol=0, atol=0)


@FUSED
@pytest.mark.parametrize(
    ("saved", "own"),
    [((4, 8), (4, 9)), ((8, 16), (64, 128)), ((4, 8), (8, 4)), ((64, 64), (4, 4))],
    ids=["wider", "much wider", "transposed", "smaller"],
)
def test_a_state_of_other_shapes_is_not_loaded(saved, own, fused):
    state = after_a_step(linear(*saved)).state_dict()
    optimizer = after_a_step(linear(*own), fused)
    shapes = (rf"\(1, {saved[1]}, {saved[0]}\).* needs .*\(1, {own[1]}, {own[0]}\)",)
    match = rf"slot 'momenta' of parameter '0.weight' .*{shapes[0]}.*the model it belongs to"
    assert_refuses(optimizer, lambda: optimizer.load_state_dict(state), match)


def test_a_state_of_a_table_of_another_shape_is_not_loaded():
    state = after_a_step(nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 2))).state_dict()
    optimizer = after_a_step(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)))
    match = r"slot 'momenta' of parameter '0.weight' .*\(1, 6, 4\).*\(1, 5, 4\)"
    assert_refuses(optimizer, lambda: optimizer.load_state_dict(state), match)


@pytest.mark.parametrize("value", [3, None, torch.zeros((), dtype=torch.int64)], ids=repr)
def test_a_slot_that_is_no_real_number_is_not_loaded(value):
    optimizer = after_a_step(linear(4, 8))
    state = deepcopy(optimizer.state_dict())
    state["state"][0]["step"] = value
    match = "slot 'step' of parameter '0.weight' is (int|NoneType|torch.int64 of shape)"
    assert_refuses(optimizer, lambda: optimizer.load_state_dict(state), match)


def test_a_state_of_another_precision_is_loaded_in_the_model_s():
    double, single = linear(4, 8).double(), linear(4, 8)
    optimizer = NFNOptimizer(single)
    optimizer.load_state_dict(after_a_step(double).state_dict())
    assert {slot.dtype for slot in optimizer.state[single[0].weight].values()} == {torch.float32}
    backward(single)
    optimizer.step()
    assert optimizer.stats()["steps"] == 2


def test_keys_of_a_saved_state_may_be_any():
    model = nn.Sequential(nn.Linear(4, 8), nn.Embedding(5, 4))
    optimizer = after_a_step(model)
    state = deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        state["state"] = {f"p{k}": state["state"][k] for k in reversed(group["params"])}
        group["params"] = [f"p{k}" for k in group["params"]]
    other = NFNOptimizer(model)
    other.load_state_dict(state)
    for param in model.parameters():
        torch.testing.assert_close(other.state[param], optimizer.state[param], rtol=0, atol=0)


@FUSED
@pytest.mark.parametrize("rows", [4, 7, 9, 16])
def test_a_parameter_that_was_replaced_by_another_shape_takes_no_step(rows, fused):
    model = linear(4, 8)
    optimizer = after_a_step(model, fused)
    model[0].weight.data = torch.ones(rows, 4)
    backward(model)
    match = rf"parameter '0.weight' has shape \({rows}, 4\).*\(8, 4\).*Make a new NFNOptimizer"
    assert_refuses(optimizer, optimizer.step, match)


@FUSED
def test_a_stale_gradient_takes_no_step(fused):
    model = linear(4, 8)
    optimizer = after_a_step(model, fused)
    model[0].weight.data = torch.ones(6, 4)
    match = r"gradient of '0.weight' .*\(8, 4\).*\(6, 4\).*zero_grad"
    assert_refuses(optimizer, optimizer.step, match)


@FUSED
def test_nothing_moves_where_one_of_many_parameters_is_refused(fused):
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    for broken, (name, _) in enumerate(model.named_parameters()):
        copy = deepcopy(model)
        optimizer = after_a_step(copy, fused)
        param = list(copy.parameters())[broken]
        slots = optimizer.state[param]
        key = next(k for k, slot in slots.items() if slot.dim())
        slots[key] = torch.cat([slots[key], slots[key]])
        backward(copy)
        assert_refuses(optimizer, optimizer.step, rf"slot '{key}' of parameter '{name}'")


@FUSED
def test_swapped_states_take_no_step(fused):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = after_a_step(model, fused)
    first, second = model[0].weight, model[2].weight
    optimizer.state[first], optimizer.state[second] = (
        optimizer.state[second],
        optimizer.state[first],
    )
    backward(model)
    match = r"slot 'momenta' of parameter '0.weight' .*\(1, 2, 8\).*\(1, 8, 4\)"
    assert_refuses(optimizer, optimizer.step, match)


@FUSED
def test_an_expanded_parameter_takes_no_step(fused):
    model = linear(4, 8)
    model[0].weight.data = torch.ones(1, 4).expand(8, 4)
    optimizer = NFNOptimizer(model, fused=fused)
    backward(model)
    assert_refuses(optimizer, optimizer.step, "parameter '0.weight' .* expanded .*clone")


@FUSED
def test_expanded_gradients_are_gradients(fused):
    model, other = linear(4, 8), linear(4, 8)
    for net in (model, other):
        optimizer = NFNOptimizer(net, fused=fused)
        for param in net.parameters():
            grad = torch.ones(()).expand(param.shape)
            param.grad = grad if net is model else grad.clone()
        optimizer.step()
    assert torch.equal(model[0].weight, other[0].weight)


def freed(x):
    x = x.clone()
    x.untyped_storage().resize_(0)
    return x


def freed_with_gaps(x):
    x = torch.stack([x, x], -1)[..., 0]
    x.untyped_storage().resize_(0)
    return x


@FUSED
@pytest.mark.parametrize("free", [freed, freed_with_gaps])
@pytest.mark.parametrize("is_first", [True, False])
def test_no_step_reads_memory_that_was_freed(free, fused, is_first):
    """Each of these used to end the process."""
    model = linear(4, 8)
    optimizer = NFNOptimizer(model, fused=fused) if is_first else after_a_step(model, fused)
    weight = model[0].weight
    weight.grad = free(torch.ones_like(weight))
    assert_refuses(optimizer, optimizer.step, "no memory for the gradient of '0.weight'")
    weight.grad = torch.ones_like(weight)
    if not is_first:
        lead = optimizer.state[weight]["lead"]
        optimizer.state[weight]["lead"] = free(lead)
        with pytest.raises(ValueError, match="state of parameter '0.weight'"):
            optimizer.step()
        optimizer.state[weight]["lead"] = lead
    kept, weight.data = weight.data, free(weight.data)
    with pytest.raises(ValueError, match="no memory for parameter '0.weight'"):
        optimizer.step()
    weight.data = kept
    optimizer.step()


@FUSED
def test_zeros_of_autograd_without_memory_are_a_gradient(fused):
    model, other = linear(4, 8), linear(4, 8)
    for net in (model, other):
        optimizer = after_a_step(net, fused)
        zeros = torch._efficientzerotensor((8, 4))
        net[0].weight.grad = zeros if net is model else zeros.clone()
        optimizer.step()
    assert torch.equal(model[0].weight, other[0].weight)


@FUSED
def test_entries_that_overlap_take_no_step(fused):
    model = linear(4, 8)
    model[0].weight.data = torch.arange(11.0).as_strided((8, 4), (1, 1))
    optimizer = NFNOptimizer(model, fused=fused)
    backward(model)
    assert_refuses(optimizer, optimizer.step, "parameter '0.weight' .* share memory.*clone")


@FUSED
def test_a_state_that_two_parameters_share_moves_both_as_torch_does(fused):
    def moved(fused):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        optimizer = after_a_step(model, fused)
        optimizer.state[model[1].bias]["square"] = optimizer.state[model[0].bias]["square"]
        optimizer.step()
        return model.state_dict()

    torch.testing.assert_close(moved(fused), moved(False))


@FUSED
def test_what_has_no_numbers_to_train_is_named(fused):
    model = linear(4, 8)
    backward(model)
    optimizer = NFNOptimizer(model, fused=fused)
    meta = nn.Parameter(model[0].weight.to("meta"))
    meta.grad = torch.empty_like(meta)
    optimizer.param_groups[0]["params"] = [meta]
    with pytest.raises(ValueError, match="parameter '0.weight' is on the meta device"):
        optimizer.step()
    model[0].weight.data = model[0].weight.data.to(torch.float8_e4m3fn)
    optimizer.param_groups[0]["params"] = [model[0].weight]
    with pytest.raises(ValueError, match="parameter '0.weight' is torch.float8_e4m3fn; .*float32"):
        optimizer.step()


@FUSED
def test_parameters_of_inference_mode_move_in_it_alone(fused):
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(3, 4), *linear(4, 2))
    model.append(nn.Linear(2, 2))
    optimizer = NFNOptimizer(model, fused=fused)
    backward(model)
    assert_refuses(optimizer, optimizer.step, r"parameter '0.weight' was made in torch.inference_m")
    start = model[2].weight.clone()
    with torch.inference_mode():
        optimizer.step()
    assert not torch.equal(model[2].weight, start)


@FUSED
def test_a_state_made_in_inference_mode_is_written_outside(fused):
    model = linear(4, 8)
    model[0].weight.data = model[0].weight.data.T.contiguous().T  # has its slots in the same order
    optimizer = NFNOptimizer(model, fused=fused)
    backward(model)
    with torch.inference_mode():
        optimizer.step()
    optimizer.step()
    assert optimizer.state[model[0].weight]["step"] == 2


@FUSED
def test_steps_may_be_taken_under_autocast(fused):
    model, other = linear(4, 8), linear(4, 8)
    after_a_step(model, fused)
    with torch.autocast("cpu"):
        after_a_step(other, fused)
    assert torch.equal(model[0].weight, other[0].weight)


@FUSED
@pytest.mark.parametrize("momenta", [None, torch.ones(())])
def test_momenta_that_are_none_are_refused(fused, momenta):
    model = linear(4, 8)
    optimizer = after_a_step(model, fused)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    optimizer.state[model[0].weight]["momenta"] = momenta
    with pytest.raises(ValueError, match="slot 'momenta' of parameter '0.weight' is"):
        optimizer.step()
