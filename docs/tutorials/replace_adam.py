# %% [markdown]
# # Replace Adam, and watch both curves
#
# Two small networks are trained from scratch: a CNN that reads digits, and a GPT that reads
# Python's own library. Each is trained by Adam at four learning rates, and by `NFNOptimizer`,
# which has none. The data come with scikit-learn and with Python. The whole script takes about a
# minute on one core.

# %%
import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from nfn_optim import NFNOptimizer

IS_QUICK = "TUTORIAL_QUICK" in os.environ  # a few steps, for tests
STEPS = 5 if IS_QUICK else 200
RATES = (1e-3,) if IS_QUICK else (1e-3, 3e-3, 1e-2, 3e-2)
Batches = Iterator[tuple[Tensor, Tensor]]

# %% [markdown]
# ## A CNN on digits
#
# A problem is a function that makes a model, and one that makes its batches.


# %%
def make_cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()),
        nn.Linear(32 * 4 * 4, 10),
    )


def digits() -> Batches:
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(data.target)
    while True:
        index = torch.randint(len(images), (64,))
        yield images[index], labels[index]


# %% [markdown]
# ## A GPT on source code
#
# It predicts the next byte of the source of `argparse` from the 64 bytes before.


# %%
class Block(nn.Module):
    """Attention that looks back only, then an MLP, each added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.before(x)).chunk(3, dim=-1)
        q, k, v = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in parts
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.between(x))


class GPT(nn.Module):
    """Two blocks of width 64 between embeddings and logits."""

    def __init__(self, width: int = 64, context: int = 64) -> None:
        super().__init__()
        self.bytes, self.places = nn.Embedding(128, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(Block(width, 4), Block(width, 4))
        self.norm, self.logits = nn.LayerNorm(width), nn.Linear(width, 128)
        self.register_buffer("order", torch.arange(context))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.norm(self.blocks(self.bytes(x) + self.places(self.order))))


def code() -> Batches:
    source = Path(argparse.__file__).read_bytes()
    text = torch.tensor([byte for byte in source if byte < 128])
    while True:
        starts = torch.randint(len(text) - 65, (16, 1))
        pieces = text[starts + torch.arange(65)]
        yield pieces[:, :-1], pieces[:, 1:]


# %% [markdown]
# ## One training loop for both optimizers
#
# The seed decides the weights and the batches, so the optimizer is all that differs. Give
# `NFNOptimizer` the model and not its parameters: it reads from the model which neurons belong
# together.


# %%
def train(
    make_model: Callable[[], nn.Module],
    make_batches: Callable[[], Batches],
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
) -> list[float]:
    torch.manual_seed(0)
    model = make_model()
    optimizer = make_optimizer(model)
    losses = []
    for x, y in itertools.islice(make_batches(), STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).flatten(0, -2), y.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def end(losses: list[float]) -> float:
    """The mean of the last tenth of the losses."""
    return sum(losses[-max(1, STEPS // 10) :]) / max(1, STEPS // 10)


def adam(rate: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.Adam(model.parameters(), lr=rate)


# %% [markdown]
# ## Ten runs

# %%
problems = {"CNN, digits": (make_cnn, digits), "GPT, source code": (GPT, code)}
curves: dict[str, dict[str, list[float]]] = {}
for problem, (make_model, make_batches) in problems.items():
    curves[problem] = {
        f"Adam, lr={rate:g}": train(make_model, make_batches, adam(rate)) for rate in RATES
    }
    curves[problem]["NFNOptimizer"] = train(make_model, make_batches, NFNOptimizer)
    for name, losses in curves[problem].items():
        print(f"{problem:<18}{name:<16} loss at the end {end(losses):.4f}")

# %% [markdown]
# What the optimizer understood of the GPT: every parameter that is read in its place in the
# network, and the neurons that each of its axes runs over. Groups of neurons are named after the
# layer that makes them: all that is added to the stream of embeddings runs over the neurons
# `bytes`.

# %%
print(NFNOptimizer(GPT()).coverage())

# %% [markdown]
# ## The picture

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, (problem, runs) in zip(axes, curves.items(), strict=True):
    for name, losses in runs.items():
        window = max(1, STEPS // 20)
        smooth = torch.tensor(losses).unfold(0, window, 1).mean(1)
        style = (
            {"color": "black", "linewidth": 2.5} if name == "NFNOptimizer" else {"linewidth": 1.2}
        )
        ax.plot(range(window, STEPS + 1), smooth, label=name, **style)
    ax.set(title=problem, xlabel="step", ylabel="training loss", yscale="log")
axes[0].legend()
figure.savefig("replace_adam.png", dpi=110)

# %% [markdown]
# ![Losses of Adam at four rates and of NFNOptimizer, on a CNN and a GPT](replace_adam.png)
#
# Read it like this. Of Adam's rates 0.01 is the best on both networks, which took four runs each to
# find. The rate of 0.001 that scripts often give it is far from the best. `NFNOptimizer` took one
# run. A step of it may cost more than a step of Adam
# ([how much](../optimizer.md#what-a-step-costs)), and one seed proves nothing:
# [the field](../field.md) has 33 tasks, tuned peers and two seeds.
