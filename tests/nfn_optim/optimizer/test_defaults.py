"""Torch's default type and device do not matter, and those of parameters may differ."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from nfn_optim import NFNOptimizer
from nfn_optim.optimizer._groups import Entry

FUSED = pytest.mark.parametrize("fused", [None, False])


def model() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    for param in made.parameters():
        param.data = torch.randn(param.shape, generator=generator)
        param.grad = torch.randn(param.shape, generator=generator)
    return made


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def run(optimizer: NFNOptimizer) -> list[Tensor]:
    """Three steps, and a save between them."""
    for _ in range(2):
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert optimizer.stats()["steps"] == 3
    return [param for group in optimizer.param_groups for param in group["params"]]


@FUSED
@pytest.mark.parametrize("since", ["construction", "the first step"])
def test_another_default_device_changes_nothing(since: str, fused: bool | None) -> None:
    expected = run(NFNOptimizer(model(), weight_decay=0.1, fused=fused))
    net = model()
    if since == "construction":
        with default_device("meta"):
            optimizer = NFNOptimizer(net, weight_decay=0.1, fused=fused)
    else:
        optimizer = NFNOptimizer(net, weight_decay=0.1, fused=fused)
    with default_device("meta"):
        found = run(optimizer)
    assert all(map(torch.equal, found, expected))


@FUSED
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_another_default_type_changes_nothing(dtype: torch.dtype, fused: bool | None) -> None:
    usual = NFNOptimizer(model(), weight_decay=0.1, fused=fused)
    expected, net = run(usual), model()
    with default_dtype(dtype):
        optimizer = NFNOptimizer(net, weight_decay=0.1, fused=fused)
        found = run(optimizer)
    assert all(map(torch.equal, found, expected))
    assert {slot.dtype for slots in optimizer.state.values() for slot in slots.values()} == {
        torch.float32
    }
    usual.load_state_dict(optimizer.state_dict())  # of the same rule


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_models_of_the_default_type_are_driven(dtype: torch.dtype) -> None:
    with default_dtype(dtype):
        net = model()
        before = [param.detach().clone() for param in net.parameters()]
        run(NFNOptimizer(net))
    for param, start in zip(net.parameters(), before, strict=True):
        assert param.dtype == dtype
        assert not torch.equal(param, start)


def test_steps_are_counted_beyond_what_a_half_can_count() -> None:
    net = model()
    with default_dtype(torch.float16):
        optimizer = NFNOptimizer(net)
        optimizer.step()
        for slots in optimizer.state.values():
            slots["step"].fill_(2048)
        optimizer.step()
    assert {float(slots["step"]) for slots in optimizer.state.values()} == {2049.0}


@FUSED
@torch.no_grad()
def test_the_cpu_s_step_is_taken_before_the_rule_moves_to_another_device(
    fused: bool | None,
) -> None:
    alone, split = model(), model()
    split[3].to("meta")  # stands in for a second device
    for param in split[3].parameters():
        param.grad = torch.zeros_like(param)
    for param in alone[3].parameters():
        param.grad = None
    for net in (alone, split):
        optimizer = NFNOptimizer(net, fused=fused)
        (group,) = optimizer.param_groups
        named = zip(group["param_names"], group["params"], strict=True)
        entries = [Entry(n, p, group, p.grad) for n, p in named if p.grad is not None]
        optimizer._driver.step(entries[::-1], optimizer.state)
    for part in (0, 1):
        for param, expected in zip(split[part].parameters(), alone[part].parameters(), strict=True):
            assert torch.equal(param, expected)
