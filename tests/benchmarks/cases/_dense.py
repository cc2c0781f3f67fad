"""Networks of linear layers: deep, wide, shared, normalized, in pairs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from ._case import Case, cross_entropy, digits, yes_or_no


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers[:-1])


def normalized() -> nn.Sequential:
    parts = [m for _ in range(2) for m in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
    return nn.Sequential(*parts, nn.Linear(64, 10))


class Residual(nn.Module):
    """One linear layer a block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(64, 64) for _ in range(8)])
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + F.relu(block(x))
        return self.head(x)


class SharedOverDepth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(64, 64), nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(10):
            x = x + 0.3 * torch.tanh(self.again(x))
        return self.head(x)


class Cosine(nn.Module):
    """Tells classes by angles; one number is their scale."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, 64), nn.Linear(64, 10, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(2.6))

    def forward(self, x: Tensor) -> Tensor:
        classes = F.normalize(self.head.weight, dim=1)
        return F.normalize(self.body(x), dim=1) @ classes.T * self.log_scale.exp()


class Contrast(nn.Module):
    """Two encoders, of upper and lower halves of images, as in CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.upper, self.lower = (mlp(32, 64, 32, act=nn.GELU) for _ in range(2))
        self.log_scale = nn.Parameter(torch.tensor(2.66))

    def forward(self, x: Tensor) -> Tensor:
        upper, lower = self.upper(x[:, :32]), self.lower(x[:, 32:])
        return F.normalize(upper) @ F.normalize(lower).T * self.log_scale.exp()


def match(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    scores = model(batch[0])
    own = torch.arange(len(scores))
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


class Quantized(nn.Module):
    """An autoencoder through a codebook, as in VQ-VAE."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = mlp(64, 64, 16), mlp(16, 64, 64)
        self.codes = nn.Embedding(32, 16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encode(x)
        code = self.codes(torch.cdist(z, self.codes.weight).argmin(1))
        cost = F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())
        return self.decode(z + (code - z).detach()), cost


def rebuild_quantized(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    rebuilt, cost = model(batch[0])
    return F.mse_loss(rebuilt, batch[0]) + cost


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(64, 8), nn.Linear(64, 8)
        self.decode = mlp(8, 64, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.body(x)
        mean, spread = self.mean(h), self.log_variance(h)
        return self.decode(mean + torch.randn_like(mean) * (spread / 2).exp()), mean, spread


def evidence(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    rebuilt, mean, spread = model(batch[0])
    bound = (1 + spread - mean**2 - spread.exp()).sum(1).mean()
    return 10 * (rebuilt - batch[0]).square().sum(1).mean() - bound / 2


def rebuild(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.mse_loss(model(batch[0]), batch[0])


class Pairs(nn.Module):
    """One network on both of a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = mlp(16, 64, 16), nn.Linear(16, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head((self.body(a) - self.body(b)).abs())


def draw_pairs(generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    a, b = torch.randn(2, 64, 16, generator=generator)
    return a, b, (a[:, :3] * b[:, :3]).sum(1) > 0


class Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(2000, 32), nn.Embedding(2000, 32)
        self.head = mlp(64, 64, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.head(torch.cat([self.users(user), self.items(item)], -1))


def draw_ratings(generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    user, item = torch.randint(0, 2000, (2, 256), generator=generator)
    return user, item, (user % 7) * (item % 5) % 2


class ManyHeads(nn.Module):
    """Three tasks on one body; a batch is of one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 64), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(64, 1) for _ in range(3)])

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        return torch.stack([head(self.body(x)) for head in self.heads])[task]


def draw_tasks(generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    x, task = torch.randn(64, 16, generator=generator), torch.randint(0, 3, (), generator=generator)
    return x, task, x[:, task] * x[:, task + 3] > 0


def draw_mislabelled(generator: Generator) -> tuple[Tensor, Tensor]:
    x, y = digits(32)(generator)
    others = torch.randint(0, 10, (32,), generator=generator)
    return x, torch.where(torch.rand(32, generator=generator) < 0.4, others, y)


def hinge(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.multi_margin_loss(model(batch[0]), batch[1])


class Graph(nn.Module):
    """Graph convolutions on one graph of 200 nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor, near: Tensor) -> Tensor:
        return self.second(near @ torch.relu(self.first(near @ x)))


def draw_graph(_: Generator) -> tuple[Tensor, Tensor, Tensor]:
    fixed = torch.Generator().manual_seed(5)
    edges = torch.rand(200, 200, generator=fixed) < 0.03
    near = (edges | edges.T).float() + torch.eye(200)
    near, x = near / near.sum(1, keepdim=True), torch.randn(200, 16, generator=fixed)
    return x, near, (near @ near @ x)[:, :4].argmax(1)


def classify_nodes(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    x, near, y = batch
    return F.cross_entropy(model(x, near), y)


CASES = {
    "softmax regression": Case(lambda: nn.Linear(64, 10), digits(), cross_entropy),
    "MLP": Case(lambda: mlp(64, 64, 64, 10), digits(), cross_entropy),
    "MLP, width 1024": Case(lambda: mlp(64, 1024, 1024, 10), digits(), cross_entropy, 60),
    "MLP, 20 layers": Case(lambda: mlp(*[64] * 21, 10), digits(), cross_entropy),
    "MLP, 20 layers, tanh": Case(lambda: mlp(*[64] * 21, 10, act=nn.Tanh), digits(), cross_entropy),
    "MLP, sigmoid": Case(lambda: mlp(*[64] * 5, 10, act=nn.Sigmoid), digits(), cross_entropy),
    "MLP, SELU": Case(lambda: mlp(*[64] * 8, 10, act=nn.SELU), digits(), cross_entropy),
    "MLP, batch norm": Case(normalized, digits(), cross_entropy),
    "MLP, batches of 1": Case(lambda: mlp(64, 64, 64, 10), digits(1), cross_entropy, 300),
    "MLP, batches of 4": Case(lambda: mlp(64, 64, 64, 10), digits(4), cross_entropy, 300),
    "MLP, 40% wrong labels": Case(lambda: mlp(64, 64, 64, 64, 10), draw_mislabelled, cross_entropy),
    "MLP, hinge loss": Case(lambda: mlp(64, 64, 64, 10), digits(), hinge),
    "residual MLP": Case(Residual, digits(), cross_entropy),
    "weights shared over depth": Case(SharedOverDepth, digits(), cross_entropy),
    "cosine classifier": Case(Cosine, digits(), cross_entropy),
    "contrastive pair": Case(Contrast, digits(), match),
    "autoencoder": Case(lambda: mlp(64, 32, 4, 32, 64), digits(), rebuild),
    "VAE": Case(Variational, digits(), evidence),
    "VQ-VAE": Case(Quantized, digits(), rebuild_quantized),
    "siamese": Case(Pairs, draw_pairs, yes_or_no),
    "multi-task": Case(ManyHeads, draw_tasks, yes_or_no),
    "recommender": Case(Recommender, draw_ratings, yes_or_no),
    "graph convolutions": Case(Graph, draw_graph, classify_nodes),
}
