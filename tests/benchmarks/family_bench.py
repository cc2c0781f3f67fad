"""What the kinds of tasks of `broad_family` cost in meta-training, as the table of its page.

Each task is drawn with a group of networks as inner runs have it, and unrolled forward and backward
with a new rule. Processor time, on one thread; `$NFN_DATA` has the data.

    python tests/benchmarks/family_bench.py [--tasks 6] [--truncation 20] [KIND ...]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from meta_train import InnerConfig, TaskFamily, unroll
from meta_train.inner import InnerRun
from meta_train.tasks.broad import SUB_FAMILIES
from nfn_optim import NFNRule


def measure(family: TaskFamily, seed: int, truncation: int) -> tuple[float, ...]:
    """Seconds to draw a task, seconds of a network-step, networks, and weights of each."""
    torch.manual_seed(0)
    rule = NFNRule()
    begin = time.process_time()
    run = InnerRun(family, rule, InnerConfig(), seed)
    drawn = time.process_time()
    generator = torch.Generator().manual_seed(seed)
    out = unroll(
        rule, run.losses, run.params, run.batches(truncation), run.state, generator=generator
    )
    out.losses.mean().backward()
    steps = truncation * len(run.generators)
    taken = (time.process_time() - drawn) / steps
    return drawn - begin, taken, len(run.generators), run.task.spec.num_entries


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(SUB_FAMILIES))
    parser.add_argument("--tasks", type=int, default=6)
    parser.add_argument("--truncation", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| tasks | share | weights | networks | network-steps a second | slowest | draw |")
    print("|---|---|---|---|---|---|---|")
    for kind in options.kinds or SUB_FAMILIES:
        family, share = SUB_FAMILIES[kind]
        rows = [measure(family, seed, options.truncation) for seed in range(1, 1 + options.tasks)]
        draw, taken, networks, weights = (sorted(column) for column in zip(*rows, strict=True))
        print(
            f"| {kind} | {share} | {statistics.median(weights):,.0f} | "
            f"{statistics.median(networks):.0f} | {1 / statistics.median(taken):.0f} | "
            f"{1 / taken[-1]:.0f} | {statistics.median(draw):.2f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
