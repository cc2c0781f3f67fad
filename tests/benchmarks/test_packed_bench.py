"""`SharedNPLinear` on 256 packed networks beside a loop over them: 2 to 6 layers, random widths.

As a benchmark, one group a shape:

    pytest tests/benchmarks/test_packed_bench.py --benchmark-group-by=group

As a script, passes of both in turns on one thread, by processor time: medians, and the median ratio
of pairs with quartiles. Beside them what a packed forward pass has to do at the least: its product
of all entries, and a read and a write of them where they are in the cache:

    python tests/benchmarks/test_packed_bench.py [--repeats 9] [--networks 256]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import pytest
import torch

from nfn_optim import NetworkSpec
from nfn_optim.layers import Pack, SharedNPLinear
from nfn_optim.testing import chain_spec, random_features

# name -> (narrowest, widest population, channels)
SHAPES = {
    "widths 4 to 16, C=16": (4, 16, 16),
    "widths 4 to 32, C=8": (4, 32, 8),
    "widths 4 to 32, C=16": (4, 32, 16),
    "widths 8 to 64, C=8": (8, 64, 8),
    "widths 8 to 64, C=16": (8, 64, 16),
}
Pass = Callable[[], object]


def networks(narrowest: int, widest: int, count: int) -> list[NetworkSpec]:
    """MLPs of 2 to 6 layers."""
    generator = torch.Generator().manual_seed(0)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    return [
        chain_spec([draw(narrowest, widest) for _ in range(draw(2, 6) + 1)]) for _ in range(count)
    ]


def passes(narrowest: int, widest: int, channels: int, count: int = 256) -> dict[str, Pass]:
    """Forward passes without gradients, and forward and backward passes, of a pack and a loop."""
    torch.manual_seed(0)
    specs, layer = networks(narrowest, widest, count), SharedNPLinear(channels, channels)
    single = [random_features(spec, channels, batch=()) for spec in specs]
    packed = Pack.of(specs).join(single)
    single = [feats.map(torch.Tensor.requires_grad_) for feats in single]
    packed = packed.map(lambda table: table.detach().requires_grad_())
    weights = [p for name, p in layer.named_parameters() if name != "taps"]  # MLPs have none
    inputs = {
        "loop": [t for feats in single for t in feats.values()],
        "pack": list(packed.values()),
    }
    runs = {
        "loop": lambda: [t for feats in single for t in layer(feats).values()],
        "pack": lambda: layer(packed).values(),
    }

    def backward(name: str) -> Pass:
        cotangents = [torch.randn_like(t) for t in inputs[name]]
        leaves = [*inputs[name], *weights]
        return lambda: torch.autograd.grad(runs[name](), leaves, cotangents, allow_unused=True)

    forward = {f"{name} forward": torch.no_grad()(run) for name, run in runs.items()}
    return {**forward, **{f"{name} both": backward(name) for name in runs}}


@pytest.mark.parametrize("run", ["loop forward", "pack forward", "loop both", "pack both"])
@pytest.mark.parametrize("shape", SHAPES)
def test_passes(benchmark, shape, run):
    torch.set_num_threads(1)
    benchmark.group = f"{shape}, {run.split()[1]}"
    benchmark.pedantic(passes(*SHAPES[shape])[run], rounds=5, warmup_rounds=2)


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


def compare(runs: dict[str, Pass], what: str, repeats: int) -> list[list[float]]:
    """Seconds of the loop and of the pack in turns, each after an untimed pass of its own."""
    times: dict[str, list[float]] = {f"{name} {what}": [] for name in ("loop", "pack")}
    for _ in range(repeats):
        for name, own in times.items():
            runs[name]()
            own.append(seconds(runs[name]))
    return list(times.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--networks", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("shape | entries | pass | loop ms | pack ms | ratio (quartiles) | product alone ms")
    for shape, (narrowest, widest, channels) in SHAPES.items():
        specs = networks(narrowest, widest, options.networks)
        entries = sum(spec.num_entries for spec in specs)
        runs = passes(narrowest, widest, channels, options.networks)
        for what, products in (("forward", 1), ("both", 3)):
            loop, pack = compare(runs, what, options.repeats)
            ratios = [a / b for a, b in zip(loop, pack, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(
                f"{shape} | {entries:,} | {what} | {statistics.median(loop) * 1e3:.1f} | "
                f"{statistics.median(pack) * 1e3:.1f} | {middle:.1f} ({low:.1f}-{high:.1f}) | "
                f"{least(entries, channels) * products * 1e3:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
