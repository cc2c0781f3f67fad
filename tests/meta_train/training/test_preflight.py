"""What ends a run before it has cost anything."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import RunConfig
from meta_train.commands._main import main
from meta_train.tasks import ModuleTask, Task, TaskFamily
from meta_train.training._run import run_meta_training


class Broken(TaskFamily):
    """Tasks with one thing wrong."""

    def __init__(self, what: str) -> None:
        self.what = what

    def sample(self, generator: torch.Generator) -> Task:
        return BrokenTask(self.what)


class BrokenTask(ModuleTask):
    def __init__(self, what: str) -> None:
        self.what = what
        data = torch.ones(8, 3), torch.ones(8, 2)
        super().__init__(lambda: nn.Linear(3, 2), F.mse_loss, data, batch_size=4)

    def init(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        params = super().init(generator)
        if self.what == "init":
            params["weight"] = torch.randn(2, 3)
        return params

    def batch(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        if self.what == "batch":
            return torch.randn(4, 3), torch.ones(4, 2)
        return super().batch(generator)

    def loss(
        self, params: dict[str, torch.Tensor], batch: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        loss = super().loss(params, batch)
        losses = {
            "scalar": loss.expand(4),
            "finite": loss * float("nan"),
            "negative": loss - 1e6,
            "constant": torch.tensor(1.0),
        }
        return losses.get(self.what, loss)


no_init, no_batch, no_scalar = Broken("init"), Broken("batch"), Broken("scalar")
no_finite, no_positive, no_constant = Broken("finite"), Broken("negative"), Broken("constant")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_init", "initial parameters differ between generators of one seed"),
        ("no_batch", "batches differ between generators of one seed"),
        ("no_scalar", r"one scalar for one network; got shape \(4,\)"),
        ("no_finite", "loss is nan at the start"),
        ("no_positive", "loss is negative"),
        ("no_constant", "does not depend on the parameters"),
    ],
)
def test_unusable_tasks_are_refused_before_the_run(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_meta_training(tmp_path / "rule.safetensors", RunConfig(), tasks=f"{__file__}:{name}")


def test_a_dry_run_checks_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "rule.safetensors"
    options = ("--runs", "2", "--entries", "2000", "--min-horizon", "3", "--dry-run")
    main(("train", "--out", str(out), *options, "estimator:full-es", "--pairs", "1"))
    printed = capsys.readouterr().out
    assert (
        "Everything is in place. 3200 outer steps and 9 meta-validations will take about" in printed
    )
    assert list(out.parent.iterdir()) == []
