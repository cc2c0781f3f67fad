"""Bytes that a process sends in a step on parameters that are cut, beside what formulas say.

    python tests/benchmarks/moved_bytes.py [--processes 2 4 8] [--width 128]

A transformer block and its embedding, cut by FSDP2 along the first axis, on a CPU. Collectives of
the step are counted as they are called; a sum over processes counts as a ring takes it, twice all
but one of its parts. Numbers are float32. The last columns are the formulas for the matrices alone:
of NFNOptimizer, and of Muon where every process gathers all momenta in bfloat16.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard

from nfn_optim import NFNOptimizer


class Counter:
    """Counts what this process sends to others."""

    def __init__(self) -> None:
        self.bytes: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def add(self, name: str, sent: float) -> None:
        self.bytes[name] = self.bytes.get(name, 0) + sent
        self.calls[name] = self.calls.get(name, 0) + 1

    def watch(self) -> None:
        """Counts from here on."""
        exchange, total = dist.all_to_all_single, dist.all_reduce

        def counted_exchange(
            output: Tensor, given: Tensor, outs: list[int], ins: list[int], **options: Any
        ) -> object:
            mine = ins[dist.get_rank(options.get("group"))]
            self.add("exchanges", (sum(ins) - mine) * given.element_size())
            return exchange(output, given, outs, ins, **options)

        def counted_total(values: Tensor, **options: Any) -> object:
            size = dist.get_world_size(options.get("group"))
            self.add("sums", 2 * (size - 1) / size * values.nbytes)
            return total(values, **options)

        dist.all_to_all_single, dist.all_reduce = counted_exchange, counted_total


def measure(folder: str, rank: int, processes: int, width: int, checkpoint: str) -> None:
    """One process, to its end: prints what all have sent in the third step, if it is the first."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/{processes}{checkpoint}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=processes)
    torch.manual_seed(0)
    blocks = (torch.nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0) for _ in range(2))
    model = torch.nn.Sequential(torch.nn.Embedding(256, width), *blocks)
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    optimizer = NFNOptimizer(model, checkpoint=checkpoint)
    counter = Counter()
    for step in range(3):
        model(torch.randint(256, (2, 8))).square().mean().backward()
        if step == 2:
            counter.watch()
        optimizer.step()
        optimizer.zero_grad()
    sent: list[Any] = [None] * processes
    dist.all_gather_object(sent, (counter.bytes, counter.calls))
    if rank == 0:
        print(_row(model, optimizer, processes, checkpoint, sent), flush=True)
    dist.destroy_process_group()
    os._exit(0)  # threads of gloo outlive the group that a mesh holds, and may abort an exit


def _row(
    model: torch.nn.Module, optimizer: NFNOptimizer, processes: int, checkpoint: str, sent: Any
) -> str:
    spec = optimizer.spec
    total = sum(param.numel() for param in model.parameters())
    matrices = [n for n in spec.names if n not in spec.tables and spec.matrices(n)]
    entries = sum(param.numel() for name, param in model.named_parameters() if name in matrices)
    cells: list[Any] = [processes, checkpoint, total, entries]
    for kind in ("exchanges", "sums"):
        amounts = [moved[kind] for moved, _ in sent]
        mean = sum(amounts) / processes
        cells += [sent[0][1][kind], f"{mean:,.0f}", f"{max(amounts) / mean:.2f}"]
    share = (processes - 1) / processes
    numbers = 2 * entries if checkpoint == "untrained" else 9 * total
    cells += [f"{4 * numbers * share / processes:,.0f}", f"{2 * entries * share:,.0f}"]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--width", type=int, default=128)
    args = parser.parse_args()
    print("| processes | rule | entries | of matrices | exchanges | bytes | most / mean |", end="")
    print(" sums | bytes | most / mean | formula | all momenta in bf16 |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for checkpoint in ("untrained", "small"):
            for processes in args.processes:
                command = [sys.executable, __file__, "--one", folder]
                numbers = [str(processes), str(args.width), checkpoint]
                runs = [
                    subprocess.Popen([*command, str(rank), *numbers]) for rank in range(processes)
                ]
                assert [run.wait() for run in runs] == [0] * processes


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        folder, *numbers, checkpoint = sys.argv[2:]
        measure(folder, *map(int, numbers), checkpoint)
    else:
        main()
