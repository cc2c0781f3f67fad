"""Functions of space and time, physics, densities, and policies."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ._case import Case, digits, squares
from ._dense import mlp


def waves(generator: Generator) -> tuple[Tensor, Tensor]:
    x = torch.rand(256, 2, generator=generator) * 2 - 1
    return x, torch.sin(9 * x[:, :1]) * torch.cos(7 * x[:, 1:] + 3 * x[:, :1] ** 2)


class Sine(nn.Module):
    def __init__(self, inputs: int, outputs: int, is_first: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        bound = 1 / inputs if is_first else math.sqrt(6 / inputs) / 30
        nn.init.uniform_(self.layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * self.layer(x))


def siren() -> nn.Sequential:
    return nn.Sequential(Sine(2, 64, True), Sine(64, 64), Sine(64, 64), nn.Linear(64, 1))


class Fourier(nn.Module):
    """Frequencies at random, then an MLP."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", 16 * torch.randn(2, 64))
        self.body = mlp(128, 64, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = x @ self.frequencies
        return self.body(torch.cat([z.sin(), z.cos()], 1))


def collocation(generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Points inside, at the start, and times at the walls."""
    inside = torch.rand(256, 2, generator=generator) * torch.tensor([2.0, 1.0])
    start = torch.rand(64, 1, generator=generator) * 2 - 1
    return inside - torch.tensor([1.0, 0.0]), start, torch.rand(64, 1, generator=generator)


def burgers(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """What is left of Burgers' equation, and of its start and walls."""
    inside, start, times = batch
    x = inside.clone().requires_grad_()
    u = model(x)
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope[:, 0].sum(), x, create_graph=True)
    left = slope[:, 1] + u[:, 0] * slope[:, 0] - 0.01 / math.pi * bend[:, 0]
    begun = model(torch.cat([start, 0 * start], 1)) + torch.sin(math.pi * start)
    walls = [model(torch.cat([torch.full_like(times, side), times], 1)) for side in (-1.0, 1.0)]
    return sum((part.square().mean() for part in (left, begun, *walls)), torch.zeros(()))


class Ode(nn.Module):
    """A path of midpoint steps along a learned field."""

    def __init__(self) -> None:
        super().__init__()
        self.field = mlp(2, 50, 2, act=nn.Tanh)

    def forward(self, y: Tensor) -> Tensor:
        path, h = [y], 3 / 19
        for _ in range(19):
            y = y + h * self.field(y + h / 2 * self.field(y))
            path.append(y)
        return torch.stack(path, 1)


def spirals(generator: Generator) -> tuple[Tensor, Tensor]:
    y = torch.rand(32, 2, generator=generator) * 2 - 1
    turn = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    times = torch.linspace(0, 3, 20)
    return y, torch.stack([y @ torch.matrix_exp(turn * t).T for t in times], 1)


class RealNVP(nn.Module):
    """Six couplings, whose scales are exponentials without a bound."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList([mlp(1, 32, 32, 2, act=nn.Tanh) for _ in range(6)])

    def forward(self, x: Tensor) -> Tensor:
        volume = torch.zeros(len(x))
        for i, net in enumerate(self.nets):
            fixed, moved = x[:, i % 2 : i % 2 + 1], x[:, 1 - i % 2 : 2 - i % 2]
            scale, shift = net(fixed).split(1, 1)
            moved = moved * scale.exp() + shift
            volume = volume + scale[:, 0]
            x = torch.cat([fixed, moved] if i % 2 == 0 else [moved, fixed], 1)
        return x.square().sum(1) / 2 - volume


def moons(generator: Generator) -> Tensor:
    angle = torch.rand(128, generator=generator) * math.pi
    side = torch.randint(0, 2, (128,), generator=generator).float()
    x = angle.cos() * (1 - 2 * side) + side, angle.sin() * (1 - 2 * side) + side / 2
    return torch.stack(x, 1) + 0.06 * torch.randn(128, 2, generator=generator)


class Diffusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.time, self.body = nn.Linear(16, 64), mlp(128, 256, 256, 64, act=nn.SiLU)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angles = 10 * t[:, None] * (torch.arange(8) / 2).exp()
        return self.body(torch.cat([x, self.time(torch.cat([angles.sin(), angles.cos()], 1))], 1))


def tell_noise(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x = 2 * batch[0] - 1
    t, noise = torch.rand(len(x)), torch.randn_like(x)
    kept = (t * math.pi / 2).cos()[:, None]
    return F.mse_loss(model(kept * x + (1 - kept**2).sqrt() * noise, t), noise)


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.actor, self.critic = nn.Linear(64, 2), nn.Linear(64, 1)
        self.log_std = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.body(x)
        return self.actor(h), self.critic(h), self.log_std


def rollout(generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    state = torch.randn(64, 8, generator=generator)
    action = torch.randn(64, 2, generator=generator)
    return state, action, (action * state[:, :2]).sum(1)


def clipped_policy(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """PPO's loss, for actions that a standard normal policy took."""
    state, action, reward = batch
    mean, value, log_std = model(state)
    log_ratio = action.square() / 2 - ((action - mean) / log_std.exp()).square() / 2 - log_std
    ratio = log_ratio.sum(1).exp()
    gain = torch.minimum(ratio * reward, ratio.clamp(0.8, 1.2) * reward)
    return F.mse_loss(value[:, 0], reward) / 2 - gain.mean()


CASES = {
    "SIREN": Case(siren, waves, squares, 300),
    "Fourier features": Case(Fourier, waves, squares),
    "physics-informed": Case(lambda: mlp(2, 32, 32, 32, 1, act=nn.Tanh), collocation, burgers),
    "neural ODE": Case(Ode, spirals, squares),
    "RealNVP": Case(RealNVP, moons, lambda model, x: model(x).mean(), 300),
    "diffusion": Case(Diffusion, digits(), tell_noise),
    "actor and critic": Case(ActorCritic, rollout, clipped_policy),
}
