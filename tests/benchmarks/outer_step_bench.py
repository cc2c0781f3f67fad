"""How many network-steps an outer step takes a second of processor time, at the defaults.

A network-step is one inner step of one network, forward and backward. Rules are those shipped, on
one thread, truncation 40. Each kind of network is measured in a process of its own, several times;
with another checkout both take turns, and the ratio of the medians is printed:

    python tests/benchmarks/outer_step_bench.py [--against CHECKOUT] [--repeats 5] [KIND ...]

`git worktree add CHECKOUT COMMIT` makes another checkout. The CNNs need `$NFN_DATA` with MNIST.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from meta_train import InnerConfig, MetaTrainer, RunConfig
from meta_train.tasks import DigitsMLPs, ModuleTask, Task, TaskFamily, load_data
from meta_train.training import RuleConfig

ROOT = Path(__file__).parents[2]
WARM_UP, MEASURED = 3, 8  # outer steps


def integer(generator: torch.Generator, low: int, high: int) -> int:
    """A number in `[low, high]`."""
    return int(torch.randint(low, high + 1, (), generator=generator))


class Regressions(TaskFamily):
    """Sums of sines of eight inputs, learned by MLPs 8-w-1."""

    def sample(self, generator: torch.Generator) -> Task:
        inputs = 2 * torch.rand(1_000, 8, generator=generator) - 1
        waves = 2 * torch.randn(8, 3, generator=generator)
        targets = torch.sin(inputs @ waves) @ torch.randn(3, 1, generator=generator)
        width = integer(generator, 32, 128)
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1)),
            F.mse_loss,
            (inputs, targets),
        )


class MnistCNNs(TaskFamily):
    """Two convolutions, a pool and a linear layer."""

    def sample(self, generator: torch.Generator) -> Task:
        data = load_data("mnist")
        first, second = integer(generator, 4, 12), integer(generator, 8, 20)
        kernel, side = 2 * integer(generator, 1, 2) + 1, integer(generator, 1, 2)

        def build() -> nn.Module:
            conv = partial(nn.Conv2d, kernel_size=kernel, stride=2, padding=kernel // 2)
            return nn.Sequential(
                conv(1, first),
                nn.ReLU(),
                conv(first, second),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(side),
                nn.Flatten(),
                nn.Linear(side * side * second, 10),
            )

        size = 32 * 2 ** integer(generator, 0, 2)
        return ModuleTask(build, F.cross_entropy, (data.x_train, data.y_train), batch_size=size)


class Block(nn.Module):
    """An attention block on tokens that come one-hot."""

    def __init__(self, words: int, d: int, classes: int) -> None:
        super().__init__()
        self.embed, self.out = nn.Linear(words, d), nn.Linear(d, classes)
        self.before, self.between = nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        z = self.before(h)
        scores = self.q(z) @ self.k(z).transpose(1, 2) / math.sqrt(z.shape[-1])
        h = h + self.o(torch.softmax(scores, -1) @ self.v(z))
        h = h + self.down(torch.relu(self.up(self.between(h))))
        return self.out(h.mean(1))


class AttentionBlocks(TaskFamily):
    """Classes of sequences of twelve tokens."""

    def sample(self, generator: torch.Generator) -> Task:
        words, d = integer(generator, 20, 59), 2 * integer(generator, 8, 16)
        classes, tokens = integer(generator, 3, 7), (2_000, 12)
        meaning = torch.randn(words, 8, generator=generator)
        readout = torch.randn(8, classes, generator=generator)
        ids = torch.randint(0, words, tokens, generator=generator)
        labels = (meaning[ids].amax(1) @ readout).argmax(-1)
        return ModuleTask(
            lambda: Block(words, d, classes),
            F.cross_entropy,
            (F.one_hot(ids, words).float(), labels),
        )


KINDS: dict[str, Callable[[], TaskFamily]] = {
    "MLP 8-w-1": Regressions,
    "MLPs on digits": DigitsMLPs,
    "CNNs on MNIST": MnistCNNs,
    "attention blocks": AttentionBlocks,
}


def measure(kind: str) -> float:
    """Network-steps a second of processor time."""
    torch.set_num_threads(1)
    config = RunConfig(inner=InnerConfig(runs=8, max_horizon=400), rule=RuleConfig(init="default"))
    trainer = MetaTrainer(KINDS[kind](), config)
    steps = trainer.train()
    for _ in range(WARM_UP):
        next(steps)
    taken, begin = 0, time.process_time()
    for _ in range(MEASURED):
        run = trainer.pool.take(trainer.step)[0]  # taking it twice is taking it once
        before = run.steps
        next(steps)
        taken += (run.steps - before) * len(run.generators)
    return taken / (time.process_time() - begin)


def measure_in(checkout: Path, kind: str) -> float:
    """The same of another checkout, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--once", kind]
    run = subprocess.run(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(run.stdout)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(measure(options.once))
        return
    checkouts = [ROOT] if options.against is None else [options.against.resolve(), ROOT]
    for kind in options.kinds or KINDS:
        rounds = [[measure_in(c, kind) for c in checkouts] for _ in range(options.repeats)]
        medians = [statistics.median(rates) for rates in zip(*rounds, strict=True)]
        ratios = sorted(rates[-1] / rates[0] for rates in rounds)
        shown = "  ".join(f"{median:8.0f}" for median in medians)
        print(
            f"{kind:<18}{shown}   {statistics.median(ratios):6.2f}x"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
