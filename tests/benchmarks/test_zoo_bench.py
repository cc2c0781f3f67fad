"""How many networks a second the zoo trains, and a plain loop of modules and `torch.optim.Adam`.

Both take the same steps on the same number of points or samples, in turns, on one thread (the
fastest for networks this small):

    make bench  # or: python -m pytest tests/benchmarks/test_zoo_bench.py -s
"""

import time
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from meta_train.tasks import Dataset
from meta_train.zoo import (
    ClassifierConfig,
    FieldConfig,
    fit_sirens,
    siren,
    small_cnn,
    train_classifiers,
)

REPEATS = 5


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def compare(what: str, steps: int, **runs: tuple[Callable[[], object], int]) -> None:
    """Prints networks a second of the zoo and the loop, the best turn, by processor time."""
    best = dict.fromkeys(runs, 0.0)
    for _ in range(REPEATS):
        for name, (run, networks) in runs.items():
            begin = time.process_time()
            run()
            best[name] = max(best[name], networks / (time.process_time() - begin))
    ratio = best["zoo"] / best["loop"]
    print(f"\n{what}, {steps} steps: {best['zoo']:.1f} networks/s, loop {best['loop']:.1f}", end="")
    print(f", ratio {ratio:.1f}")
    assert ratio > 1


@pytest.mark.parametrize("num_points", [32, 64, 784])
def test_sirens(num_points: int) -> None:
    steps, images = 60, torch.rand(400, 1, 28, 28)
    config = FieldConfig(num_steps=steps, num_points=num_points)
    grid, values = torch.rand(784, 2), torch.rand(784, 1)

    def loop() -> None:
        module = siren(2, 1, config)
        optimizer = torch.optim.Adam(module.parameters(), lr=config.lr)
        parts = torch.randperm(784).split(num_points)
        for step in range(steps):
            points = parts[step % (784 // num_points)]
            optimizer.zero_grad()
            (module(grid[points]) - values[points]).square().mean().backward()
            optimizer.step()

    zoo = partial(fit_sirens, images[: 6400 // num_points * 2], config)
    compare(f"SIREN, {num_points} points", steps, zoo=(zoo, len(zoo.args[0])), loop=(loop, 1))


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_small_cnns(batch_size: int) -> None:
    steps = 60
    x, y = torch.rand(2000, 1, 28, 28), torch.randint(10, (2000,))
    config = ClassifierConfig(
        checkpoints=(steps,),
        batch_size=batch_size,
        optimizers=("adam",),
        num_evaluated=1,
        num_train_evaluated=1,
    )

    def loop() -> None:
        convolutions, rest = small_cnn()[:6:2], small_cnn()[6:]
        hidden = [m for conv in convolutions for m in (conv, nn.ReLU(), nn.Dropout2d(0.3))]
        module = nn.Sequential(*hidden, *rest)
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
        for _ in range(steps):
            index = torch.randint(2000, (batch_size,))
            optimizer.zero_grad()
            squares = [p.square().sum() for p in module.parameters() if p.dim() > 1]
            loss = F.cross_entropy(module(x[index]), y[index]) + 1e-4 * torch.stack(squares).sum()
            loss.backward()
            optimizer.step()

    zoo = partial(train_classifiers, small_cnn, Dataset(x, y, x, y), 64, config)
    compare(f"small CNN, batch {batch_size}", steps, zoo=(zoo, 64), loop=(loop, 1))
