"""One of several processes: with every estimator, writes meta-gradients and trains on."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from meta_train import (
    PES,
    FullES,
    InnerConfig,
    MetaTrainer,
    NoiseReuseES,
    RuleConfig,
    RunConfig,
    TruncatedBPTT,
    ValidationConfig,
)
from meta_train.inner import Processes, join
from meta_train.tasks import ModuleTask, Task, TaskFamily
from meta_train.training import _pool


class Regressions(TaskFamily):
    """Small regressions."""

    def sample(self, generator: torch.Generator) -> Task:
        inputs = torch.randn(64, 4, generator=generator)
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
            F.mse_loss,
            (inputs, (inputs @ torch.randn(4, 2, generator=generator)).tanh()),
            batch_size=16,
        )


CONFIG = RunConfig(
    outer_steps=6,
    inner=InnerConfig(runs=4, runs_per_step=2, min_horizon=3, max_horizon=9, max_networks=2),
    rule=RuleConfig(hidden=4),
    validation=ValidationConfig(runs=3, steps=3),
)
ESTIMATORS = (
    TruncatedBPTT(truncation=3),
    FullES(std=0.1),
    PES(std=0.1, truncation=3),
    NoiseReuseES(std=0.1, truncation=3),
)


def run(processes: Processes, folder: Path, halfway: Path) -> None:
    """Leaves what each estimator reached in a folder of its name.

    Args:
        processes: This one among the others.
        folder: Where to write.
        halfway: Folder of a run of a single process, from where all of them go on once more.
    """
    for estimator in ESTIMATORS:
        config, name = replace(CONFIG, estimator=estimator), type(estimator).__name__
        (folder / name).mkdir(exist_ok=True)
        run_one(processes, config, folder / name, halfway / name)


def run_one(processes: Processes, config: RunConfig, folder: Path, halfway: Path) -> None:
    """Leaves estimates, the rule, its resume file and validation losses in `folder`."""
    trainer = MetaTrainer(Regressions(), config, processes=processes)
    estimates = {f"first {i}": estimate(trainer) for i in range(4)}  # every run twice
    trainer = MetaTrainer(Regressions(), config, processes=processes)
    for _ in trainer.train():
        pass
    trainer.save(folder / "rule.safetensors", "test")
    losses = trainer.validation.losses(trainer.result())
    trainer.resume(halfway / "rule.safetensors")
    estimates |= {f"resumed {i}": estimate(trainer) for i in range(2)}
    if processes.is_first:
        torch.save(estimates, folder / "estimates.pt")
        torch.save(losses, folder / "validation.pt")


def estimate(trainer: MetaTrainer) -> dict[str, torch.Tensor]:
    """Meta-loss and meta-gradient of the next outer step, which leaves the rule as it is."""
    loss, grads = trainer.estimate()
    trainer.step += 1
    return {"loss": torch.tensor(loss), **grads}


def deal_around(expected: list[float], owners: list[int], size: int) -> list[int]:
    """Every run of an outer step moves on to the next process."""
    return [(owner + 1) % size for owner in owners]


if __name__ == "__main__":
    torch.set_num_threads(1)
    _pool.deal = deal_around
    with join("cpu") as joined:
        run(joined, Path(sys.argv[1]), Path(sys.argv[2]))
