"""One of several processes: writes the meta-gradient of the first outer step, then trains on."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from meta_train import MetaTrainer, TrainConfig
from meta_train._distributed import Processes, join
from meta_train.tasks import ModuleTask, Task, TaskFamily


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


CONFIG = TrainConfig(
    outer_steps=12,
    truncation=3,
    min_horizon=3,
    max_horizon=9,
    runs=4,
    runs_per_step=2,
    max_networks=2,
    hidden=4,
    validation_runs=3,
    validation_steps=3,
)


def run(processes: Processes, folder: Path) -> None:
    """Leaves `grads.pt`, `rule.safetensors`, its resume file and `validation.pt` in `folder`."""
    trainer = MetaTrainer(Regressions(), CONFIG, processes=processes)
    loss, grads = trainer.estimate()
    if processes.is_first:
        torch.save({"loss": torch.tensor(loss), **grads}, folder / "grads.pt")
    trainer = MetaTrainer(Regressions(), CONFIG, processes=processes)
    for _ in trainer.train():
        pass
    trainer.save(folder / "rule.safetensors", "test")
    losses, _ = trainer.validate()
    if processes.is_first:
        torch.save(losses, folder / "validation.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join("cpu") as joined:
        run(joined, Path(sys.argv[1]))
