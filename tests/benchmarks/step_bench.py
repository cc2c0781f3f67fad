"""Cost of one optimizer step beside foreach Adam's, in one process, interleaved.

    python tests/benchmarks/step_bench.py [--threads 2] [--repeats 30] [--json rows.json] [CASE ...]

Every optimizer steps after a forward and backward pass, Adam always just before, so that other load
meets both; ratios are medians of those of such pairs, with half the distance between quartiles.
Times are processor time on one thread, and by the clock on more. Networks of more than `LARGE`
parameters get a third of the repeats, and no rows of `small` and of torch operations.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nfn_optim import NFNOptimizer
from step_networks import CASES, Case

LARGE = 5_000_000
METHODS: dict[str, dict[str, Any]] = {
    "NFNOptimizer": {"fused": True},
    "small": {"fused": True, "checkpoint": "small"},
    "fused=False": {"fused": False},
}


def seconds() -> float:
    """Wall-clock time, or processor time where one thread does all the work."""
    return time.perf_counter() if torch.get_num_threads() > 1 else time.thread_time()


def timed(function: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    start = seconds()
    function()
    return 1e3 * (seconds() - start)


def resident(what: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at most."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{what}:")[1].split()[0])


def floats_beside(step: Callable[[], object], count: int) -> float:
    """Floats a parameter that a step needs at its highest, beside what is there before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    before = resident("VmRSS")
    step()
    return (resident("VmHWM") - before) / 4 / count


def state_floats(optimizer: torch.optim.Optimizer, count: int) -> float:
    slots = [v for state in optimizer.state.values() for v in state.values()]
    return sum(v.numel() * v.element_size() for v in slots) / 4 / count


def figure(values: Sequence[float]) -> dict[str, float]:
    """A median, and half the distance between quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"mean": round(middle, 4), "spread": round((high - low) / 2, 4)}


def measured(case: Case, method: str, repeats: int) -> dict[str, dict[str, float]]:
    """Figures of one method on one network."""
    torch.manual_seed(0)
    model = case.build()
    params = list(model.parameters())
    count = sum(p.numel() for p in params)
    work = case.work(model)
    # A rate of zero leaves parameters alone at the same cost.
    adam = torch.optim.Adam(params, 0.0, foreach=True)
    ours = NFNOptimizer(model, lr=0.0, **METHODS[method])
    rows = []
    for repeat in range(-3, repeats):
        work()
        first = timed(adam.step)
        passes = timed(work)
        second = timed(ours.step)
        if repeat >= 0:
            rows.append((second / first, second / (second + passes), first, second))
    names = ("times_adam", "share", "adam_ms", "ms")
    found = {n: figure(values) for n, values in zip(names, zip(*rows, strict=True), strict=True)}
    if case.inputs is None:
        del found["share"]
        found["peak_floats"] = {"mean": round(floats_beside(ours.step, count), 2)}
        found["adam_peak_floats"] = {"mean": round(floats_beside(adam.step, count), 2)}
    found["state_floats"] = {"mean": round(state_floats(ours, count), 2)}
    return found


def size_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def main() -> None:
    """Prints a row for every method on every network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for task in args.cases:
        is_large = size_of(CASES[task].build()) > LARGE
        for method in list(METHODS)[: 1 if is_large else None]:
            repeats = args.repeats // (3 if is_large else 1)
            values = measured(CASES[task], method, repeats)
            rows.append({"task": task, "method": method, "values": values})
            cells = (f"{k} {v['mean']:.3g} ± {v.get('spread', 0):.2g}" for k, v in values.items())
            print(f"{task} | {method} | {' | '.join(cells)}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
