"""What training scripts take for granted of a torch optimizer."""

import copy
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from nfn_optim import NetworkSpec, NFNOptimizer


def network(seed: int = 0) -> nn.Sequential:
    """Layers with a place in the network and one (the embedding) that is read alone."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3)
    )


def without_embedding(model: nn.Module) -> NetworkSpec:
    """A spec that leaves the embedding alone."""
    return NetworkSpec.from_module(model).subset(["2.weight", "2.bias", "4.weight", "4.bias"])


def backward(model: nn.Module, seed: int, scale: float = 1.0) -> torch.Tensor:
    model.zero_grad()
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(5, (16, 3), generator=generator)
    loss = nn.functional.cross_entropy(model(tokens).float(), tokens[:, 0] % 3) * scale
    loss.backward()
    return loss.detach()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> list[float]:
    losses = []
    for seed in seeds:
        losses.append(float(backward(model, seed)))
        optimizer.step()
    return losses


def distance(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.5**t),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.5),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 1),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.5),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.5)], [2]
    ),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(o)]),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, cycle_momentum=False),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=9, cycle_momentum=False),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.1),
}


def test_the_table_of_schedulers_is_complete():
    bases = (lr_scheduler.LRScheduler, lr_scheduler._LRScheduler)
    public = {
        name
        for name in lr_scheduler.__all__
        if inspect.isclass(getattr(lr_scheduler, name)) and getattr(lr_scheduler, name) not in bases
    }
    assert public <= set(SCHEDULERS)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_scale_the_step(name):
    model, twin = network(), network()
    optimizer, reference = NFNOptimizer(model), NFNOptimizer(twin)
    scheduler = SCHEDULERS[name](optimizer)
    rates = set()
    for seed in range(6):
        rates.add(optimizer.param_groups[0]["lr"])
        reference.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
        train(model, optimizer, range(seed, seed + 1))
        train(twin, reference, range(seed, seed + 1))
        scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
    assert len(rates) > 1
    assert distance(model, twin) == 0


def test_a_tensor_as_lr_is_a_number():
    model, twin = network(), network()
    train(model, NFNOptimizer(model, lr=torch.tensor(0.5)), range(3))
    train(twin, NFNOptimizer(twin, lr=0.5), range(3))
    assert distance(model, twin) < 1e-6


def test_groups_have_their_own_options():
    model = network()
    start = copy.deepcopy(model)
    groups = [
        {"params": model[0].parameters(), "lr": 0.0},
        {"params": model[2].parameters(), "maximize": True},
        {"params": model[4].parameters(), "weight_decay": 0.5},
    ]
    traced = NFNOptimizer(copy.deepcopy(model))
    with pytest.warns(UserWarning, match="form no chain"):
        optimizer = NFNOptimizer(groups)
    train(model, optimizer, range(1))
    assert torch.equal(model[0].weight, start[0].weight)
    assert ((start[2].weight - model[2].weight) * model[2].weight.grad).sum() < 0
    assert optimizer.param_groups[2]["weight_decay"] == 0.5
    assert {"lr", "weight_decay", "maximize", "rule"} <= set(traced.param_groups[0])


def test_layers_join_in_the_middle_of_training():
    model = network()
    optimizer = NFNOptimizer(model)
    optimizer.param_groups[0]["params"] = list(model[:3].parameters())
    optimizer.param_groups[0]["param_names"] = ["0.weight", "2.weight", "2.bias"]
    train(model, optimizer, range(2))
    assert torch.equal(model[4].weight, network()[4].weight)
    optimizer.add_param_group({"params": model[4].parameters(), "lr": 0.5})
    train(model, optimizer, range(2, 4))
    assert not torch.equal(model[4].weight, network()[4].weight)
    assert {row.name for row in optimizer.coverage().rows if row.is_placed} == {
        *("0.weight", "2.weight", "2.bias", "4.weight", "4.bias")
    }
    assert float(optimizer.state[model[2].weight]["step"]) == 4


def test_clipping_sees_ordinary_gradients():
    model = network()
    optimizer = NFNOptimizer(model)
    backward(model, 0, scale=1e3)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    assert distance(model, network()) > 0


def test_grad_scaler_unscales_and_skips_overflows():
    model, plain = network(), network()
    optimizer, reference = NFNOptimizer(model), NFNOptimizer(plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    backward(model, 0, scale=float(scaler.scale(torch.ones(()))))
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    scaler.step(optimizer)
    scaler.update()
    train(plain, reference, range(1))
    assert distance(model, plain) < 1e-6
    before = copy.deepcopy(model)
    backward(model, 1, scale=float("inf"))
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**9
    assert distance(model, before) == 0
    assert optimizer.skipped_steps == 0


def test_autocast_trains():
    model = network()
    optimizer = NFNOptimizer(model)
    losses = []
    for seed in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses.append(float(backward(model, seed)))
            optimizer.step()
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters_have_float32_state(dtype):
    model = network().to(dtype)
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(2))
    for _ in range(2):
        for param in model.parameters():
            assert param.dtype == dtype
            assert {slot.dtype for slot in optimizer.state[param].values()} == {torch.float32}
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def test_state_is_tensors_by_name():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(1))
    assert set(optimizer.state) == set(model.parameters())
    for slots in optimizer.state.values():
        assert all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in slots.items())
    number = (int, float, str, bool, list, tuple, type(None))
    for group in optimizer.state_dict()["param_groups"]:
        assert all(isinstance(value, number) for value in group.values())


def test_hooks_are_called():
    model = network()
    optimizer = NFNOptimizer(model)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    optimizer.register_state_dict_pre_hook(lambda *_: calls.append("saving"))
    optimizer.register_state_dict_post_hook(lambda opt, sd: {**sd, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(
        lambda opt, sd: {k: v for k, v in sd.items() if k != "extra"}
    )
    optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("loaded"))
    train(model, optimizer, range(1))
    saved = optimizer.state_dict()
    assert saved["extra"] == 1
    optimizer.load_state_dict(saved)
    assert calls == ["pre", "post", "saving", "loaded"]


def test_a_hook_may_rewrite_the_state_that_is_loaded():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(2))

    def restart(_: torch.optim.Optimizer, saved: dict) -> dict:
        state = {
            key: {name: torch.zeros_like(slot) for name, slot in slots.items()}
            for key, slots in saved["state"].items()
        }
        return {**saved, "state": state}

    optimizer.register_load_state_dict_pre_hook(restart)
    optimizer.load_state_dict(optimizer.state_dict())
    assert all(not slot.any() for slots in optimizer.state.values() for slot in slots.values())


def test_a_model_may_move_before_its_state_is_loaded():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(2))
    other = network()
    resumed = NFNOptimizer(other)
    other.double()
    resumed.load_state_dict(optimizer.state_dict())
    train(other, resumed, range(2, 4))
    assert {p.dtype for p in other.parameters()} == {torch.float64}


def test_gradients_may_be_zeros_or_none():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(1))
    optimizer.zero_grad(set_to_none=False)
    assert all(not param.grad.any() for param in model.parameters())
    optimizer.step()
    before = copy.deepcopy(model)
    optimizer.zero_grad(set_to_none=True)
    optimizer.step()
    assert distance(model, before) == 0


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # natively and not
def test_empty_parameters_are_taken_and_left(dtype):
    x, y = torch.rand(8, 4, dtype=dtype), torch.rand(8, 2, dtype=dtype)
    model = nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 2)).to(dtype)
    optimizer = NFNOptimizer(model)
    before = copy.deepcopy(model.state_dict())
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.coverage().rows
    for name, param in model.named_parameters():
        assert torch.equal(param, before[name]) == (name != "1.bias")
        assert param.isfinite().all()


def test_frozen_layers_stay_and_may_thaw():
    model = network()
    for param in model[2].parameters():
        param.requires_grad_(False)
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(2))
    assert torch.equal(model[2].weight, network()[2].weight)
    for param in model[2].parameters():
        param.requires_grad_(True)
    train(model, optimizer, range(2, 3))
    assert not torch.equal(model[2].weight, network()[2].weight)


def test_coverage_prints_a_table():
    model = network()
    table = str(NFNOptimizer(model, spec=without_embedding(model)).coverage()).split("\n")
    assert table[0].split(maxsplit=2) == ["parameter", "shape", "is read   runs over"]
    assert table[1].split(maxsplit=3) == [
        "0.weight",
        "(5,",
        "4)",
        "alone     is not in the spec",
    ]
    assert table[2].endswith("in place  2 x 0 x ordered")
    assert table[-1].startswith("4 of 5 parameters, 83.2% of 119 entries, are read in their place")


def test_stats_count_and_measure():
    model = network()
    optimizer = NFNOptimizer(model, spec=without_embedding(model))
    train(model, optimizer, range(3))
    before = copy.deepcopy(model)
    train(model, optimizer, range(3, 4))
    stats = optimizer.stats()
    moved = [
        (p - q).detach().norm()
        for p, q in zip(model.parameters(), before.parameters(), strict=True)
    ]
    assert stats["steps"] == 4
    assert stats["skipped_steps"] == 0
    assert stats["placed_share"] == pytest.approx(99 / 119)
    assert stats["update_norm"] == pytest.approx(float(torch.stack(moved).norm()), rel=1e-4)


def test_state_with_slots_of_another_version_is_rejected():
    model = network()
    optimizer = NFNOptimizer(model)
    train(model, optimizer, range(1))
    saved = optimizer.state_dict()
    del saved["state"][1]["lead"]
    other = NFNOptimizer(network())
    with pytest.raises(ValueError, match="state of '2.weight' .* another version"):
        other.load_state_dict(saved)
    assert not other.state


def test_two_models_with_the_same_names_are_all_trained():
    models = [nn.Linear(3, 2), nn.Linear(2, 3)]
    optimizer = NFNOptimizer([{"params": model.named_parameters()} for model in models])
    start = copy.deepcopy(models)
    sum(param.square().sum() for model in models for param in model.parameters()).backward()
    optimizer.step()
    assert all(distance(a, b) > 0 for a, b in zip(models, start, strict=True))


def test_two_processes_end_with_the_same_bits(tmp_path):
    script = Path(__file__).with_name("distributed_script.py")
    command = [sys.executable, "-W", "error::UserWarning", str(script), str(tmp_path)]
    runs = [
        subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for run in runs:
        _, errors = run.communicate(timeout=900)
        assert run.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["losses"] != second["losses"]
    assert first["share"] > 0.5
    for name, tensor in first["model"].items():
        assert torch.equal(tensor, second["model"][name]), name


def lengths(optimizer: NFNOptimizer) -> set[float]:
    """What parameters remember."""
    return {float(slots["num_steps"]) for slots in optimizer.state.values()}


def test_the_length_of_a_run_is_kept_in_the_state_and_changes_steps():
    told, untold = network(), network()
    untold.load_state_dict(told.state_dict())
    optimizer = NFNOptimizer(told, checkpoint="small", num_steps=3)
    train(told, optimizer, range(3))
    train(untold, NFNOptimizer(untold, checkpoint="small"), range(3))
    assert lengths(optimizer) == {3.0}
    assert any(
        not torch.equal(p, q) for p, q in zip(told.parameters(), untold.parameters(), strict=True)
    )
    restored = NFNOptimizer(told, checkpoint="small")
    restored.load_state_dict(optimizer.state_dict())
    assert lengths(restored) == {3.0}


@pytest.mark.parametrize("num_steps", [0, -1, 2.5, True])
def test_a_length_that_is_no_number_of_steps_is_refused(num_steps):
    with pytest.raises(ValueError, match="num_steps must be a positive integer"):
        NFNOptimizer(network(), num_steps=num_steps)


def test_memory_is_bounded_where_other_layers_get_gradients_at_every_step():
    """Experts that are chosen, layers that are dropped at random."""
    layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(10))
    optimizer = NFNOptimizer(layers)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        optimizer.zero_grad()
        chosen = torch.randperm(10, generator=generator)[:3].tolist()
        sum(layers[i](torch.ones(3)).sum() for i in chosen).backward()
        optimizer.step()
    assert len(optimizer._driver._specs) <= 32
