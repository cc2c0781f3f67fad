"""Forward and backward of NPLinear beside the reference `nfn` 0.1.2, on six shapes.

As a benchmark, one group a shape:

    pytest tests/benchmarks/test_layers_bench.py --benchmark-group-by=group

As a script, runs of both libraries interleaved, so that a busy machine slows both: median ratio
with quartiles, arithmetic rate against a plain large matrix product, peak memory in processes of
their own. One thread is timed by processor time, which waiting for other processes does not count
in; two threads by the clock on the wall, as they wait for each other:

    python tests/benchmarks/test_layers_bench.py [--threads 2] [--repeats 30]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from math import prod
from pathlib import Path

import pytest
import torch

from nfn_optim.layers import NPLinear
from nfn_optim.testing import chain_spec, random_features

K = (3, 3)
# name -> (widths, kernels, channels, batch); the last three are what an optimizer meets
SHAPES = {
    "SIREN 2-32-32-1, C=64, batch 32": ([2, 32, 32, 1], None, 64, 32),
    "SIREN 2-32-32-1, C=256, batch 8": ([2, 32, 32, 1], None, 256, 8),
    "CNN zoo 1-16-16-16-10, C=64, batch 8": ([1, 16, 16, 16, 10], [K, K, K, ()], 64, 8),
    "MLP 784-32-10, C=16, batch 1": ([784, 32, 10], None, 16, 1),
    "MLP 784-128-10, C=16, batch 1": ([784, 128, 10], None, 16, 1),
    "CNN 3-32-64-10, C=16, batch 1": ([3, 32, 64, 10], [K, K, ()], 16, 1),
}
Pass = Callable[[], object]


def ours(widths, kernels, channels, batch) -> Pass:
    """Forward and backward of our layer, gradients in features and weights."""
    spec = chain_spec(widths, kernels)
    layer = NPLinear(spec, channels, channels)
    generator = torch.Generator().manual_seed(0)
    feats = random_features(spec, channels, generator, batch=(batch,), dtype=torch.float32)
    inputs = [t.requires_grad_() for t in feats.values()] + list(layer.parameters())
    cotangents = [torch.randn_like(t) for t in feats.values()]
    return lambda: torch.autograd.grad(list(layer(feats).values()), inputs, cotangents)


def reference(widths, kernels, channels, batch) -> Pass:
    """The same for the reference, in its own layout (channels second)."""
    layers, common = pytest.importorskip("nfn.layers"), pytest.importorskip("nfn.common")
    kernels = kernels or [()] * (len(widths) - 1)
    weights = [
        torch.randn(batch, channels, n_out, n_in, *kernel, requires_grad=True)
        for n_in, n_out, kernel in zip(widths[:-1], widths[1:], kernels, strict=True)
    ]
    biases = [torch.randn(batch, channels, n, requires_grad=True) for n in widths[1:]]
    feats = common.WeightSpaceFeatures(weights, biases)
    layer = layers.NPLinear(common.network_spec_from_wsfeat(feats), channels, channels)
    inputs = [*weights, *biases, *layer.parameters()]
    cotangents = [torch.randn_like(t) for t in (*weights, *biases)]

    def run() -> object:
        out = layer(feats)
        return torch.autograd.grad([*out.weights, *out.biases], inputs, cotangents)

    return run


LIBRARIES = {"ours": ours, "reference": reference}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_backward(benchmark, shape, library):
    torch.set_num_threads(2)
    benchmark.group = shape
    run = LIBRARIES[library](*SHAPES[shape])
    benchmark.extra_info["flop"] = flop(*SHAPES[shape])
    benchmark.pedantic(run, rounds=15, warmup_rounds=3)


def flop(widths, kernels, channels, batch) -> int:
    """Multiply-adds of the layer's matrix products, times two, forward and backward.

    A level S of the layer is a product of `batch * |S|` rows; see `nfn_optim.layers`.
    """
    layer = NPLinear(chain_spec(widths, kernels), channels, channels)
    rows = [batch * prod(level.sizes) for level in layer._mixer.plan.levels]
    return 3 * sum(2 * r * w.numel() for r, w in zip(rows, layer.weights, strict=True))


def seconds(run: Pass) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    run()
    return clock() - start


def plain_product_rate(size: int = 2048) -> float:
    """GFLOP/s of one large matrix product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(10)) / 1e9


def peak_memory(shape: str, library: str, threads: int) -> float:
    """Megabytes that passes add to a fresh process whose inputs are made."""
    command = [sys.executable, __file__, "--memory", shape, library, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak_memory(shape: str, library: str) -> None:
    LIBRARIES[library]([3, 4, 2], None, 16, 1)()
    run = LIBRARIES[library](*SHAPES[shape])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    for _ in range(3):
        run()
    print(resident("VmHWM") - before)


def resident(field: str) -> float:
    """Megabytes of this process, now (VmRSS) or at most (VmHWM); Linux only."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def compare(shape: str, repeats: int) -> dict[str, list[float]]:
    """Seconds of interleaved passes.

    An untimed pass of the same library precedes each, so that neither pays for the heap and caches
    that the other leaves behind.
    """
    runs = {name: build(*SHAPES[shape]) for name, build in LIBRARIES.items()}
    for run in runs.values():
        run(), run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            run()
            times[name].append(seconds(run))
    return times


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--memory", nargs=2, metavar=("SHAPE", "LIBRARY"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        print_peak_memory(*options.memory)
        return
    rate = plain_product_rate()
    print(f"threads {options.threads}, repeats {options.repeats}; plain product {rate:.0f} GFLOP/s")
    print("shape | ours ms | reference ms | ratio (quartiles) | GFLOP/s | MB ours | MB reference")
    ratios = []
    for shape, config in SHAPES.items():
        times = compare(shape, options.repeats)
        pairs = zip(times["reference"], times["ours"], strict=True)
        low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        mine, theirs = (statistics.median(times[name]) for name in LIBRARIES)
        ratios.append(middle)
        memory = [peak_memory(shape, name, options.threads) for name in LIBRARIES]
        print(
            f"{shape} | {mine * 1e3:.2f} | {theirs * 1e3:.2f} | {middle:.2f} ({low:.2f}-{high:.2f})"
            f" | {flop(*config) / mine / 1e9:.0f} | {memory[0]:.0f} | {memory[1]:.0f}",
            flush=True,
        )
    print(f"geometric mean of the ratios {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    main()
