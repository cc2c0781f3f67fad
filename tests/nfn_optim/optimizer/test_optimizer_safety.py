"""Safeguards that are on by default: no scale of the loss, bounded steps, no late blow-up."""

import math
import warnings

import pytest
import torch
from torch import nn

from nfn_optim import NFNOptimizer, NFNRule, read_card
from nfn_optim.rules import constants
from nfn_optim.rules.constants import CLIP


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))


def cnn() -> nn.Sequential:
    torch.manual_seed(0)
    # No bias before the normalization: its gradient would be rounding noise, which any optimizer
    # that normalizes gradients turns into steps.
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


def with_a_part_alone() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Unflatten(1, (2, 4)), nn.LSTM(4, 3))


def loss_of(model: nn.Module, generator: torch.Generator) -> torch.Tensor:
    dtype = next(model.parameters()).dtype
    x = torch.randn(16, 1, 6, 6, generator=generator).to(dtype)
    out = model(x)
    out = out[0][:, -1] if isinstance(out, tuple) else out
    return nn.functional.cross_entropy(out, x[:, 0, 0, :3].argmax(-1))


def train(model: nn.Module, steps: int, scale: float = 1.0) -> list[float]:
    optimizer = NFNOptimizer(model)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, generator)
        (loss * scale).backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("make", [mlp, cnn, with_a_part_alone])
def test_the_scale_of_the_loss_changes_rounding_only(make, scale):
    plain, scaled = make().double(), make().double()
    train(plain, 30)
    train(scaled, 30, scale)
    start = make().double()
    for (name, p), q, s in zip(
        plain.named_parameters(), scaled.parameters(), start.parameters(), strict=True
    ):
        moved = float((p - s).detach().abs().max())
        assert float((p - q).detach().abs().max()) < 1e-3 * moved, name


@pytest.mark.parametrize("make", [mlp, cnn, with_a_part_alone])
def test_steps_are_bounded_whatever_the_gradients(make):
    """By the rule's largest magnitude times its largest direction, for spikes and underflow."""
    model = make()
    optimizer = NFNOptimizer(model)
    rule = optimizer.rule
    assert isinstance(rule, NFNRule)
    schedule = 2 * float(rule.schedule.weight[0].abs().sum())  # what it reads is at most 2 here
    bound = CLIP * rule.step_size
    bound *= math.exp(constants.MAX_LOG_MAGNITUDE + schedule)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        before = [param.detach().clone() for param in model.parameters()]
        for param in model.parameters():
            exponent = torch.randint(-44, 16, (), generator=generator)
            param.grad = torch.randn(param.shape, generator=generator) * 10.0**exponent
        optimizer.step()
        for (name, param), old in zip(model.named_parameters(), before, strict=True):
            size = float((param - old).detach().abs().max())
            assert size <= bound, name
    assert optimizer.skipped_steps == 0


@pytest.mark.parametrize("spike", [1e20, 1e30, float("inf")])
def test_gradients_too_large_to_square_are_skipped(spike):
    model = mlp()
    optimizer = NFNOptimizer(model)
    loss_of(model, torch.Generator().manual_seed(0)).backward()
    optimizer.step()
    before = [param.detach().clone() for param in model.parameters()]
    model[1].weight.grad[0, 0] = spike
    with pytest.warns(UserWarning, match="not finite or too large to square"):
        optimizer.step()
    assert optimizer.skipped_steps == 1
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    model[1].weight.grad[0, 0] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
    assert all(param.isfinite().all() for param in model.parameters())


def assert_no_blow_up(losses: list[float]) -> None:
    tail = losses[-len(losses) // 10 :]
    assert all(map(math.isfinite, losses))
    assert max(tail) < 3 * losses[0]  # of single batches
    assert sum(tail) / len(tail) < 0.7 * losses[0]


@pytest.mark.parametrize("make", [mlp, cnn])
def test_a_run_does_not_blow_up(make):
    assert_no_blow_up(train(make(), 800))


@pytest.mark.slow
@pytest.mark.parametrize("make", [mlp, cnn])
def test_a_run_of_twenty_horizons_does_not_blow_up(make):
    horizon = read_card().get("config", {}).get("max_horizon", 1000)
    assert_no_blow_up(train(make(), 20 * horizon))


@pytest.mark.parametrize("width", [512, 8192])
def test_networks_far_wider_than_any_meta_trained_on_are_trained(width):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.ReLU(), nn.Linear(width, 3))
    losses = train(model, 100)
    assert all(map(math.isfinite, losses))
    assert max(losses) < 3 * losses[0]
    assert sum(losses[-30:]) / 30 < 0.7 * losses[0]


def test_layers_whose_rows_are_in_bands_are_trained():
    torch.manual_seed(0)
    layers = nn.Linear(36, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 3)
    losses = train(nn.Sequential(nn.Flatten(), *layers), 100)
    assert sum(losses[-10:]) / 10 < 0.7 * losses[0]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("fused", [None, False])
def test_parameters_without_entries_are_left_alone(fused):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 0))
    before = model[0].weight.clone()
    optimizer = NFNOptimizer(model, fused=fused)
    (model[0](torch.ones(2, 4)).sum() + model(torch.ones(2, 4)).sum()).backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before)
