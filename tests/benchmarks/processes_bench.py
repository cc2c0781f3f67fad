"""How many times as many outer steps several processes take as one.

    python tests/benchmarks/processes_bench.py [--processes 2] [--runs-per-step 8] [KIND ...]

Kinds are those of `outer_step_bench.py`. One process and several take the same outer steps, in
turns (`--repeats 5`). Ratios are of outer steps a minute, medians with their ranges: by the clock,
for which nothing else may run; and by processor time, of the process that has most to do in each
step, which other load changes less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parent))

from meta_train import InnerConfig, MetaTrainer, RunConfig
from meta_train.inner import join
from meta_train.training import RuleConfig, is_started, launch
from outer_step_bench import KINDS, MEASURED, WARM_UP


class Rates(NamedTuple):
    """Outer steps a minute."""

    clock: float
    processor: float


def measure(kind: str, runs_per_step: int) -> Rates | None:
    """The rates of the processes that were started; None but in the first."""
    torch.set_num_threads(1)
    inner = InnerConfig(runs=2 * runs_per_step, runs_per_step=runs_per_step, max_horizon=400)
    config = RunConfig(inner=inner, rule=RuleConfig(init="default"))
    with join("cpu") as processes:
        steps = MetaTrainer(KINDS[kind](), config, processes=processes).train()
        for _ in range(WARM_UP):
            next(steps)
        begin, longest = time.perf_counter(), 0.0
        for _ in range(MEASURED):
            start = time.process_time()
            next(steps)
            own = torch.tensor([time.process_time() - start])
            longest += float(processes.whole(own, 0).max())
        clock = time.perf_counter() - begin
        minutes = 60 * MEASURED
        return Rates(minutes / clock, minutes / longest) if processes.is_first else None


def measure_in(kind: str, runs_per_step: int, count: int) -> Rates:
    """The same of `count` new processes."""
    command = [sys.executable, __file__, "--once", kind, "--processes", str(count)]
    command += ["--runs-per-step", str(runs_per_step)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Rates(*map(float, run.stdout.split()))


def once(kind: str, runs_per_step: int, count: int) -> None:
    """Prints the rates, from this process or those that it starts."""
    if not is_started(count):
        sys.exit(launch(count, [sys.executable, *sys.argv]))
    found = measure(kind, runs_per_step)
    if found is not None:
        print(*found, flush=True)
    os._exit(0)  # threads of gloo may not end, as in `nfn-optim`


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs-per-step", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        once(options.once, options.runs_per_step, options.processes)
    for kind in options.kinds or KINDS:
        counts = (1, options.processes)
        rounds = [
            [measure_in(kind, options.runs_per_step, count) for count in counts]
            for _ in range(options.repeats)
        ]
        shown = (
            f"{name} {summary([getattr(many, name) / getattr(one, name) for one, many in rounds])}"
            for name in Rates._fields
        )
        print(f"{kind:<18}", *shown, flush=True)


def summary(ratios: list[float]) -> str:
    """The median and the range."""
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
