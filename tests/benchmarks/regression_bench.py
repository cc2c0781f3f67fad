"""Ten shallow regressions that no meta-training saw, against Adam tuned for each of them.

    python tests/benchmarks/regression_bench.py [--checkpoint default] [--steps 500] [--seeds 5]

A task is the sum of three sines of projections of eight inputs, with a little noise, fitted by a
network with one hidden layer. Number k of the ten is drawn from seed k.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from torch import nn

from meta_train import EvaluationTask, Task, evaluate
from meta_train.evaluation import ADAM, to_json, to_markdown
from meta_train.tasks import ModuleTask

INPUTS, SINES, NOISE = 8, 3, 0.05


def sum_of_sines(seed: int) -> Task:
    """200 to 1,499 samples, and a network of 32 to 128 hidden neurons."""
    generator = torch.Generator().manual_seed(seed)
    samples, width = (
        int(torch.randint(low, high, (), generator=generator))
        for low, high in ((200, 1500), (32, 129))
    )
    inputs = 2 * torch.rand(samples, INPUTS, generator=generator) - 1
    frequencies = 2 * torch.randn(INPUTS, SINES, generator=generator)
    amplitudes = torch.randn(SINES, 1, generator=generator)
    noise = NOISE * torch.randn(samples, 1, generator=generator)
    targets = (inputs @ frequencies).sin() @ amplitudes + noise
    return ModuleTask(
        lambda: nn.Sequential(nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, 1)),
        nn.functional.mse_loss,
        (inputs, targets),
    )


def main() -> None:
    """Prints the comparison and writes it as `nfn-optim evaluate --json` does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tasks = [
        EvaluationTask.from_task(f"sines-{seed}", partial(sum_of_sines, seed), args.steps)
        for seed in range(10)
    ]
    evaluation = evaluate(args.checkpoint, tasks, peers=[ADAM], num_seeds=args.seeds)
    print(to_markdown(evaluation))
    if args.json:
        args.json.write_text(json.dumps(to_json(evaluation), indent=1))


if __name__ == "__main__":
    main()
