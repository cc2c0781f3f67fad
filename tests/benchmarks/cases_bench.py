"""Adam at 1e-3 beside NFNOptimizer on every case, with nothing tuned: the figures of docs/cases.md.

    make cases

It takes some minutes on one core. Times are processor time of the step alone, medians of a run.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import nn

from cases import CASES, Case
from nfn_optim import NFNOptimizer
from records import Number, Record, Row, write_record

Make = Callable[[nn.Module], torch.optim.Optimizer]
METHODS: dict[str, Make] = {
    "Adam": lambda model: torch.optim.Adam(model.parameters(), 1e-3),
    "NFNOptimizer": NFNOptimizer,
}
FIRST = 50
MEASURES = {
    "end": "mean of the last tenth of the training losses",
    "worst": f"largest training loss of the first {FIRST} steps",
    "milliseconds": "median of the steps of the optimizer alone, processor time",
    "state": "floats of state for each number that is trained",
    "placed": "share of the numbers that are trained that are read in their place in the network",
    "trained": "numbers that are trained",
}


def run(case: Case, make: Make, seed: int) -> dict[str, float]:
    """One run's figures."""
    torch.manual_seed(seed)
    model = case.make()
    optimizer = make(model)
    generator = torch.Generator().manual_seed(seed)
    losses, times = [], []
    for _ in range(case.steps):
        optimizer.zero_grad()
        loss = case.loss(model, case.draw(generator))
        loss.backward()
        begin = time.thread_time()
        optimizer.step()
        times.append(time.thread_time() - begin)
        losses.append(loss.item())
    return {
        "end": statistics.fmean(losses[-(case.steps // 10) :]),
        "worst": max(losses[:FIRST]),
        "milliseconds": 1e3 * statistics.median(times),
        **extent(model, optimizer),
    }


def extent(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """What is trained, what is kept of it, and what of it is read in its place."""
    sizes = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    kept = sum(t.numel() for slots in optimizer.state.values() for t in slots.values())
    found = {"trained": float(sum(sizes.values())), "state": kept / sum(sizes.values())}
    if isinstance(optimizer, NFNOptimizer):
        placed = [row.name for row in optimizer.coverage().rows if row.is_placed]
        found["placed"] = sum(sizes.get(name, 0) for name in placed) / found["trained"]
    return found


def row(name: str, method: str, seeds: list[int]) -> Row:
    """The figures of one method on one case."""
    runs = [run(CASES[name], METHODS[method], seed) for seed in seeds]
    values = {
        measure: Number(
            mean=_rounded(statistics.fmean(r[measure] for r in runs)),
            spread=_rounded(statistics.pstdev(r[measure] for r in runs)),
        )
        for measure in runs[0]
    }
    return Row(task=name, method=method, values=values)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    """Writes the record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    seeds, rows = list(range(arguments.seeds)), []
    for name in arguments.only:
        for method in METHODS:
            rows.append(row(name, method, seeds))
            shown = {m: n.mean for m, n in rows[-1].values.items()}
            print(f"{name:34s} {method:13s}", shown, flush=True)
    record = Record(
        title="Adam at 1e-3 beside NFNOptimizer, with nothing tuned",
        protocol="Both train every case from the same start on the same batches, "
        "float32, one thread.",
        command="make cases",
        commit=head.stdout[:10],
        date=date.today(),
        machine=f"one thread, {platform.machine()}, {platform.system()}, torch {torch.__version__}",
        seeds=seeds,
        spread="standard deviation over seeds",
        measures=MEASURES,
        rows=rows,
    )
    write_record(record, arguments.out)


if __name__ == "__main__":
    main()
