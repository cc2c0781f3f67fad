"""With `capturable=True` the host waits for nothing, and state stays in its memory."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils._python_dispatch import TorchDispatchMode

from nfn_optim import NFNOptimizer
from nfn_optim.optimizer._groups import with_gradients

# What reads a number of a device, has a size that depends on numbers, or copies from the host.
WAITING = ("_local_scalar_dense", "nonzero", "lift_fresh", "is_nonzero", "equal", "masked_select")


class Waits(AssertionError):
    """The host would wait."""


class NoWaiting(TorchDispatchMode):
    """Refuses what a CUDA graph cannot record."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.overloadpacket.__name__ in WAITING:
            raise Waits(str(func))
        return func(*args, **(kwargs or {}))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 6)
        self.mixed = nn.MultiheadAttention(6, 2, batch_first=True)
        self.conv = nn.Conv1d(6, 5, 3)
        self.scale = nn.Parameter(torch.ones(()))
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x)
        x = x + self.mixed(x, x, x, need_weights=False)[0]
        return self.scale * self.out(self.conv(x.mT).relu().mean(-1))


def train(model: nn.Module, optimizer: NFNOptimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randint(9, (4, 7), generator=generator)
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = Net().double()  # keys' biases have no gradient but rounding
    return model, copy.deepcopy(model)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"checkpoint": "small", "num_steps": 20},
    {"weight_decay": 0.1, "lr": torch.tensor(0.5)},
    {"lr": torch.tensor([0.5])},
    {"maximize": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_it_takes_the_same_steps(options):
    first, second = pair()
    train(first, NFNOptimizer(first, capturable=True, **options), range(5))
    train(second, NFNOptimizer(second, fused=False, **options), range(5))
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_host_does_not_wait(options):
    model, _ = pair()
    optimizer = NFNOptimizer(model, capturable=True, **options)
    train(model, optimizer, range(2))
    with NoWaiting():
        optimizer.step()


def test_other_steps_are_seen_to_wait():
    model, _ = pair()
    optimizer = NFNOptimizer(model, fused=False)
    train(model, optimizer, range(2))
    with NoWaiting(), pytest.raises(Waits):
        optimizer.step()


def test_parameters_and_state_stay_in_their_memory():
    model, _ = pair()
    optimizer = NFNOptimizer(model, capturable=True)
    train(model, optimizer, range(1))
    tensors = [
        *model.parameters(),
        *(x for slots in optimizer.state.values() for x in slots.values()),
    ]
    places = [tensor.data_ptr() for tensor in tensors]
    before = [tensor.clone() for tensor in tensors]
    train(model, optimizer, range(1, 3))
    now = [*model.parameters(), *(x for slots in optimizer.state.values() for x in slots.values())]
    assert places == [tensor.data_ptr() for tensor in now]
    assert sum(not torch.equal(x, y) for x, y in zip(before, now, strict=True)) > len(now) / 2


def test_a_gradient_that_is_not_finite_moves_nothing_and_is_counted():
    model, _ = pair()
    optimizer = NFNOptimizer(model, capturable=True)
    train(model, optimizer, range(2))
    before, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    model.out.weight.grad[0, 0] = float("nan")
    optimizer.step()
    assert optimizer.skipped_steps == 1
    assert optimizer.stats()["update_norm"] == 0
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    for key, slots in optimizer.state_dict()["state"].items():
        assert all(torch.equal(x, state["state"][key][slot]) for slot, x in slots.items())


def test_native_steps_and_graphs_exclude_each_other():
    with pytest.raises(ValueError, match="Give one of them"):
        NFNOptimizer(Net(), fused=True, capturable=True)


def test_parameters_on_two_devices_are_refused_before_anything_moves():
    model = nn.Sequential(nn.Linear(3, 3))
    optimizer = NFNOptimizer(model, capturable=True)
    for param in model[0].parameters():
        param.grad = torch.ones_like(param)
    (entry, other) = with_gradients(optimizer.param_groups)
    elsewhere = replace(other, param=nn.Parameter(other.param.detach().to("meta")))
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match="one device"):
        optimizer._driver.step_on_device([entry, elsewhere], optimizer.state)
    assert torch.equal(model[0].weight, before)
    assert not optimizer.state


def test_a_compiler_takes_the_step_whole():
    torch.manual_seed(0)
    first = nn.Linear(3, 4).double()
    second = copy.deepcopy(first)
    optimizers = [NFNOptimizer(first, capturable=True), NFNOptimizer(second, fused=False)]
    compiled = torch.compile(optimizers[0].step, fullgraph=True, backend="eager")
    for step in range(3):
        for model in (first, second):
            model.zero_grad()
            model(torch.full((2, 3), 1.0 + step).double()).square().sum().backward()
        compiled()
        optimizers[1].step()
    assert torch.allclose(first.weight, second.weight, atol=1e-12)
    assert not torch.equal(first.weight.grad, torch.zeros_like(first.weight))


@pytest.mark.parametrize("lr", [None, torch.tensor(1.0)])
def test_a_schedule_of_adams_rates_is_taken_as_such(lr):
    model, _ = pair()
    optimizer = NFNOptimizer(model, lr, capturable=True)
    OneCycleLR(optimizer, max_lr=1e-2, total_steps=20)
    with pytest.warns(UserWarning, match="a scheduler leads to max_lr=0.01"):
        train(model, optimizer, range(1))
    assert optimizer.param_groups[0]["lr_unit"] == "adam"


def test_numbers_of_the_host_are_looked_at_as_in_other_steps():
    model, _ = pair()
    optimizer = NFNOptimizer(model, capturable=True)
    optimizer.param_groups[0]["lr"] = 1e-3
    with pytest.warns(UserWarning, match=r"1\.0 is the learned step"):
        train(model, optimizer, range(10))
