"""What first steps find hard: values without a scale, exponentials, tails, trained networks."""

from __future__ import annotations

import copy
import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ._case import Case, cross_entropy, digits, rows, squares, table
from ._dense import mlp


def counts(generator: Generator) -> tuple[Tensor, Tensor]:
    """Numbers up to thousands, whose logarithm is linear."""
    x = torch.randn(64, 8, generator=generator)
    return x, torch.poisson((x[:, :4].sum(1, keepdim=True) + 2).exp(), generator=generator)


def log_linear(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    log_rate = model(batch[0])
    return (log_rate.exp() - batch[1] * log_rate).mean()


def tails(generator: Generator) -> tuple[Tensor, Tensor]:
    """A smooth function under Cauchy noise."""
    x = torch.rand(64, 4, generator=generator) * 2 - 1
    noise = torch.tan(math.pi * (torch.rand(64, 1, generator=generator) * 0.998 - 0.499))
    return x, torch.sin(3 * x[:, :1]) + 0.1 * noise


def mixture(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Negative log density of five Gaussians, whose widths are exponentials."""
    weight, mean, log_std = model(batch[0]).view(-1, 3, 5).unbind(1)
    density = -((batch[1] - mean) * (-log_std).exp()).square() / 2 - log_std
    return -(weight.log_softmax(1) + density).logsumexp(1).mean()


def inverse_sine(generator: Generator) -> tuple[Tensor, Tensor]:
    """Several answers to one question."""
    y = torch.rand(64, 1, generator=generator)
    return y + 0.3 * torch.sin(2 * math.pi * y), y


class LongMemory(nn.Module):
    """Rectified recurrence over 50 steps, from the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.again, self.head = nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 1)
        nn.init.eye_(self.again.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 64)
        for step in x.unbind(1):
            h = torch.relu(self.read(step) + self.again(h))
        return self.head(h)


def adding(generator: Generator) -> tuple[Tensor, Tensor]:
    """The sum of two marked numbers among fifty."""
    x = torch.stack([torch.rand(32, 50, generator=generator), torch.zeros(32, 50)], 2)
    for half in range(2):
        marked = torch.randint(25 * half, 25 * half + 25, (32,), generator=generator)
        x[torch.arange(32), marked, 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(1, keepdim=True)


class FromNothing(nn.Module):
    """Residual blocks that begin at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([mlp(64, 64, 64) for _ in range(6)])
        self.head = nn.Linear(64, 10)
        for last in (*(block[-1] for block in self.blocks), self.head):
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


@cache
def _trained() -> nn.Sequential:
    """An MLP that knows digits."""
    torch.manual_seed(0)
    model, generator = mlp(64, 64, 64, 10), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(600):
        optimizer.zero_grad()
        cross_entropy(model, digits()(generator)).backward()
        optimizer.step()
    return model


def trained() -> nn.Sequential:
    return copy.deepcopy(_trained())


def shifted(generator: Generator) -> tuple[Tensor, Tensor]:
    """Sixty digits as negatives, with noise."""
    x, y = table("digits")
    chosen = torch.randint(0, 60, (16,), generator=generator)
    noise = torch.randn(16, 64, generator=generator)
    return (1 - x[chosen] / 16) * 0.6 + 0.3 * noise, y[chosen]


class Adapted(nn.Module):
    """A frozen layer with an adapter of rank 4."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Linear(layer.in_features, 4, bias=False)
        self.up = nn.Linear(4, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + 2 * self.up(self.down(x))


def adapted() -> nn.Sequential:
    return nn.Sequential(*(Adapted(m) if isinstance(m, nn.Linear) else m for m in trained()))


def masked() -> nn.Sequential:
    """Four of five weights are zero, and their gradients are masked."""
    model = mlp(64, 64, 64, 10)
    for layer in model:
        if isinstance(layer, nn.Linear):
            mask = (layer.weight.abs() > layer.weight.abs().quantile(0.8)).float()
            layer.weight.data *= mask
            layer.weight.register_hook(mask.mul)
    return model


class Adversarial(nn.Module):
    """A generator and a critic in one loss: the generator's gradient is turned round."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = mlp(4, 32, 32, 2), mlp(2, 32, 32, 1)

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        fake = self.generator(noise)
        return self.critic(_turned(fake)), fake


def _turned(x: Tensor) -> Tensor:
    return 2 * x.detach() - x


def adversarial(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    noise, real = batch
    fake = model(noise)[0]
    return F.softplus(-model.critic(real)).mean() + F.softplus(fake).mean()


def ring(generator: Generator) -> tuple[Tensor, Tensor]:
    angle = torch.randint(0, 8, (64,), generator=generator) * math.pi / 4
    real = torch.stack([angle.cos(), angle.sin()], 1)
    return torch.randn(64, 4, generator=generator), real


CASES = {
    "wine, values as they are": Case(
        lambda: mlp(13, 64, 64, 3), rows(*table("wine")), cross_entropy
    ),
    "breast cancer, values as they are": Case(
        lambda: mlp(30, 64, 64, 2), rows(*table("breast_cancer")), cross_entropy
    ),
    "diabetes, targets as they are": Case(
        lambda: mlp(10, 64, 64, 1),
        rows(table("diabetes")[0], table("diabetes")[1][:, None].float()),
        squares,
    ),
    "counts under a log link": Case(lambda: mlp(8, 64, 64, 1), counts, log_linear),
    "Cauchy noise": Case(lambda: mlp(4, 64, 64, 1), tails, squares),
    "mixture density": Case(lambda: mlp(1, 64, 64, 15, act=nn.Tanh), inverse_sine, mixture),
    "recurrence over 50 steps": Case(LongMemory, adding, squares),
    "blocks from zero": Case(FromNothing, digits(), cross_entropy),
    "fine-tuning, same data": Case(trained, digits(), cross_entropy, 60),
    "fine-tuning, other data": Case(trained, shifted, cross_entropy),
    "adapters": Case(adapted, shifted, cross_entropy),
    "masked gradients": Case(masked, digits(), cross_entropy),
    "adversarial pair": Case(Adversarial, ring, adversarial, 300),
}
