"""Networks whose optimizer step is timed by `step_bench.py`, and what gives them gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Inputs = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """A network whose step is timed.

    Attributes:
        build: Makes it.
        inputs: A batch; None where gradients are drawn, since a forward pass would take too long.
    """

    build: Callable[[], nn.Module]
    inputs: Inputs | None = None

    def work(self, model: nn.Module) -> Callable[[], object]:
        """What comes before every step: a forward and backward pass, or nothing."""
        if self.inputs is None:
            for param in model.parameters():
                param.grad = 1e-3 * torch.randn_like(param)
            return lambda: None
        inputs = self.inputs()
        labels = torch.randint(10, model(inputs).shape[:-1])

        def run() -> None:
            model.zero_grad()
            F.cross_entropy(model(inputs).flatten(0, -2), labels.flatten()).backward()

        return run


def mlp(*widths: int) -> nn.Sequential:
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def cnn(*channels: int) -> nn.Sequential:
    """Convolutions of 3 x 3 with batch norm, then the mean over all places."""
    layers = [
        m
        for a, b in pairwise((3, *channels))
        for m in (nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
    ]
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 10)
    return nn.Sequential(*layers, *pooled)


def wide_cnn() -> nn.Sequential:
    return cnn(64, 64, 128, 128, 256, 256)


class Block(nn.Module):
    """Causal attention, then a gated MLP, as in Llama."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.first(x)
        q, k, v = (
            layer(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        normed = self.second(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))


def llama(width: int, depth: int, inner: int, words: int, is_tied: bool) -> nn.Sequential:
    """A decoder with heads of 64."""
    blocks = (Block(width, width // 64, inner) for _ in range(depth))
    head = nn.Linear(width, words, bias=False)
    model = nn.Sequential(nn.Embedding(words, width), *blocks, nn.RMSNorm(width), head)
    if is_tied:
        head.weight = model[0].weight
    return model


def table() -> nn.Sequential:
    return nn.Sequential(nn.Embedding(400_000, 64), nn.Flatten(), nn.Linear(64, 10))


def images(size: int, count: int) -> Inputs:
    return lambda: torch.randn(count, 3, size, size)


def vectors(size: int) -> Inputs:
    return lambda: torch.randn(64, size)


CASES = {
    "MLP 64-32-10": Case(lambda: mlp(64, 32, 10), vectors(64)),
    "MLP 784-128-10": Case(lambda: mlp(784, 128, 10), vectors(784)),
    "MLP 784-512-512-10": Case(lambda: mlp(784, 512, 512, 10), vectors(784)),
    "MLP 784-1024-1024-10": Case(lambda: mlp(784, 1024, 1024, 10), vectors(784)),
    "CNN 16-32-32": Case(lambda: cnn(16, 32, 32), images(16, 16)),
    "CNN 64 to 256": Case(wide_cnn, images(8, 4)),
    "CNN 64 to 256, channels_last": Case(
        lambda: wide_cnn().to(memory_format=torch.channels_last), images(8, 4)
    ),
    "Llama, width 256, 4 layers": Case(
        lambda: llama(256, 4, 688, 512, False), lambda: torch.randint(512, (4, 64))
    ),
    "embedding 400,000 x 64": Case(table),
    "Llama 110M, tied": Case(lambda: llama(768, 12, 2048, 32_000, True)),
    "Llama 134M, not tied": Case(lambda: llama(768, 12, 2048, 32_000, False)),
}
