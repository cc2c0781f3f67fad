"""`SharedNPLinear` on 256 packed networks beside a loop over them: 2 to 6 layers, random widths.

The pack is measured with native code and without.

As a benchmark, one group a shape:

    pytest tests/benchmarks/test_packed_bench.py --benchmark-group-by=group

As a script, passes of all in turns on one thread, by processor time: medians, and the median ratios
to the pack, with quartiles. Beside them what a packed forward pass has to do at the least: its
product of all entries, and a read and a write of them where they are in the cache:

    python tests/benchmarks/test_packed_bench.py [--repeats 9] [--networks 256]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch

from nfn_optim import NetworkSpec
from nfn_optim.layers import Pack, SharedNPLinear
from nfn_optim.native import packed as native
from nfn_optim.testing import chain_spec, random_features

# name -> (narrowest, widest population, channels)
SHAPES = {
    "widths 4 to 16, C=16": (4, 16, 16),
    "widths 4 to 32, C=8": (4, 32, 8),
    "widths 4 to 32, C=16": (4, 32, 16),
    "widths 8 to 64, C=8": (8, 64, 8),
    "widths 8 to 64, C=16": (8, 64, 16),
}
NAMES = ("loop", "torch", "pack")
Pass = Callable[[], object]


def networks(narrowest: int, widest: int, count: int) -> list[NetworkSpec]:
    """MLPs of 2 to 6 layers."""
    generator = torch.Generator().manual_seed(0)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    return [
        chain_spec([draw(narrowest, widest) for _ in range(draw(2, 6) + 1)]) for _ in range(count)
    ]


def by_torch(run: Pass) -> object:
    with patch.object(native.LIBRARY, "can_load", lambda: False):
        return run()


def passes(narrowest: int, widest: int, channels: int, count: int = 256) -> dict[str, Pass]:
    """Forward passes without gradients, and forward and backward passes.

    They are those of a loop, of a pack, and of a pack in torch operations alone.
    """
    torch.manual_seed(0)
    specs, layer = networks(narrowest, widest, count), SharedNPLinear(channels, channels)
    single = [random_features(spec, channels, batch=()) for spec in specs]
    packed = Pack.of(specs).join(single)
    single = [feats.map(torch.Tensor.requires_grad_) for feats in single]
    packed = packed.map(lambda table: table.detach().requires_grad_())
    weights = [p for name, p in layer.named_parameters() if name != "taps"]  # MLPs have none
    tables = list(packed.values())
    inputs = {
        "loop": [t for feats in single for t in feats.values()],
        "pack": tables,
        "torch": tables,
    }
    runs = {
        "loop": lambda: [t for feats in single for t in layer(feats).values()],
        "pack": lambda: layer(packed).values(),
        "torch": lambda: by_torch(lambda: layer(packed).values()),
    }

    def backward(name: str) -> Pass:
        cotangents = [torch.randn_like(t) for t in inputs[name]]
        leaves = [*inputs[name], *weights]
        return lambda: torch.autograd.grad(runs[name](), leaves, cotangents, allow_unused=True)

    forward = {f"{name} forward": torch.no_grad()(run) for name, run in runs.items()}
    return {**forward, **{f"{name} both": backward(name) for name in runs}}


@pytest.mark.parametrize("what", ["forward", "both"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_passes(benchmark, shape, name, what):
    torch.set_num_threads(1)
    benchmark.group = f"{shape}, {what}"
    benchmark.pedantic(passes(*SHAPES[shape])[f"{name} {what}"], rounds=5, warmup_rounds=2)


def seconds(run: Pass) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@torch.no_grad()
def least(entries: int, channels: int) -> float:
    """Seconds of a product of so many entries, block by block, into memory that is there."""
    x = torch.randn(1 << 13, channels)
    weight, out = torch.randn(channels, channels), torch.empty(1 << 13, channels)
    run = lambda: torch.mm(x, weight, out=out)  # noqa: E731
    return statistics.median(seconds(run) for _ in range(200)) * entries / (1 << 13)


def compare(runs: dict[str, Pass], what: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of each in turns, each after an untimed pass of its own."""
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(repeats):
        for name, own in times.items():
            runs[f"{name} {what}"]()
            own.append(seconds(runs[f"{name} {what}"]))
    return times


def ratio(times: dict[str, list[float]], name: str) -> str:
    """By how much the pack is faster than another one: median and quartiles."""
    ratios = [a / b for a, b in zip(times[name], times["pack"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.1f} ({low:.1f}-{high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--networks", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "shape | entries | pass | ms: loop, torch, pack | loop / pack | torch / pack | product ms"
    )
    for shape, (narrowest, widest, channels) in SHAPES.items():
        specs = networks(narrowest, widest, options.networks)
        entries = sum(spec.num_entries for spec in specs)
        runs = passes(narrowest, widest, channels, options.networks)
        for what, products in (("forward", 1), ("both", 3)):
            times = compare(runs, what, options.repeats)
            medians = ", ".join(f"{statistics.median(own) * 1e3:.1f}" for own in times.values())
            print(
                f"{shape} | {entries:,} | {what} | {medians} | {ratio(times, 'loop')} | "
                f"{ratio(times, 'torch')} | {least(entries, channels) * products * 1e3:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
