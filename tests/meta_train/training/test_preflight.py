"""What ends a run before it has cost anything."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import InnerConfig, MetaTrainer, RunConfig
from meta_train.commands._main import main
from meta_train.tasks import ModuleTask, Task, TaskFamily
from meta_train.training._preflight import check_family
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


class Modules(TaskFamily):
    """Tasks of one module; equal up to the seed of the data."""

    def __init__(self, build: Callable[[], nn.Module], *, is_one: bool = False) -> None:
        self.build, self.is_one = build, is_one

    def sample(self, generator: torch.Generator) -> Task:
        seeded = torch.Generator().manual_seed(0) if self.is_one else generator
        inputs = torch.randn(32, 3, generator=seeded)
        return ModuleTask(self.build, F.mse_loss, (inputs, inputs[:, :1]), batch_size=4)


class Branch(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.mean() > 0 else 2 * x)


class Read(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * (1 + float(x.abs().mean().item()))


class Remembering(nn.Linear):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


class WithBuffers(nn.Linear):
    """A random one, and one that counts."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.register_buffer("mix", torch.randn(3, 3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x @ self.mix) * (1 + 0.1 * self.calls)


class HiddenRandomness(TaskFamily):
    """A factor that is drawn with a task, and not from its generator."""

    def sample(self, generator: torch.Generator) -> Task:
        task = Modules(lambda: nn.Linear(3, 1)).sample(generator)
        assert isinstance(task, ModuleTask)
        factor = torch.rand(())
        task.loss_fn = lambda outputs, targets: factor * F.mse_loss(outputs, targets)
        return task


class Mixed(TaskFamily):
    """Classification and regression, of two types of numbers."""

    def sample(self, generator: torch.Generator) -> Task:
        inputs = torch.randn(32, 3, generator=generator)
        if int(torch.randint(2, (), generator=generator)):
            labels = (inputs.sum(1) > 0).long()
            return ModuleTask(lambda: nn.Linear(3, 2), F.cross_entropy, (inputs, labels))
        data = inputs.double(), inputs.double()[:, :1]
        return ModuleTask(lambda: nn.Linear(3, 1).double(), F.mse_loss, data)


def test_a_family_of_one_task_is_told_of() -> None:
    (note,) = check_family(Modules(lambda: nn.Linear(3, 1), is_one=True))
    assert "draws the same task for every seed" in note
    assert check_family(Modules(lambda: nn.Linear(3, 1))) == []


@pytest.mark.filterwarnings("ignore:NFNOptimizer reads")
@pytest.mark.parametrize(
    ("build", "reason", "advice"),
    [
        (lambda: Branch(3, 1), "data-dependent control flow", "let torch.where choose"),
        (lambda: Read(3, 1), r"\.item\(\)", "keep it a tensor"),
    ],
    ids=["branch", "item"],
)
def test_networks_that_take_turns_are_told_of(
    build: Callable[[], nn.Module], reason: str, advice: str
) -> None:
    (note,) = check_family(Modules(build))
    assert re.search(f"networks of ModuleTask take turns, because .*{reason}.*{advice}", note)


@pytest.mark.parametrize(
    "layer", [lambda: nn.Dropout(0.5), lambda: nn.BatchNorm1d(4)], ids=["dropout", "batch norm"]
)
def test_dropout_and_batch_normalization_need_no_word(layer: Callable[[], nn.Module]) -> None:
    assert (
        check_family(Modules(lambda: nn.Sequential(nn.Linear(3, 4), layer(), nn.Linear(4, 1))))
        == []
    )


def test_buffers_belong_to_each_network() -> None:
    assert check_family(Modules(WithBuffers)) == []


def test_tasks_of_unlike_losses_and_types_make_a_family(tmp_path: Path) -> None:
    assert check_family(Mixed()) == []
    inner = InnerConfig(runs=4, runs_per_step=2, min_horizon=2, max_horizon=3)
    trainer = MetaTrainer(Mixed(), RunConfig(outer_steps=6, inner=inner))
    assert all(map(math.isfinite, trainer.train()))
    assert trainer.skipped == 0


def test_what_is_kept_between_calls_is_refused() -> None:
    with pytest.raises(ValueError, match="changes from call to call"):
        check_family(Modules(lambda: Remembering(3, 1)))


def test_randomness_that_does_not_show_in_networks_and_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="the losses of equal tasks differ"):
        check_family(HiddenRandomness())


def test_what_torch_raises_inside_a_task_is_said_with_its_place() -> None:
    class Wrong(TaskFamily):
        def sample(self, generator: torch.Generator) -> Task:
            data = torch.randn(8, 3, generator=generator), torch.zeros(8)
            return ModuleTask(lambda: nn.Linear(3, 2), F.cross_entropy, data, batch_size=4)

    expected = (
        r"`loss` of a ModuleTask raises RuntimeError: .*The batch: float32 \(4, 3\), float32 \(4,\)"
    )
    with pytest.raises(ValueError, match=expected):
        check_family(Wrong())


def test_as_many_targets_as_inputs_are_asked_for() -> None:
    for inputs, targets in (
        (torch.ones(4, 3), torch.ones(3, 2)),
        (torch.ones(0, 3), torch.ones(0)),
    ):
        with pytest.raises(ValueError, match="as many targets as inputs, and one at least"):
            ModuleTask(lambda: nn.Linear(3, 2), F.mse_loss, (inputs, targets))


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
    assert "From a new rule: outer rate 0.001 after 100 steps, ema 0.99." in printed
    assert (
        "Everything is in place. 3200 outer steps and 9 meta-validations will take about" in printed
    )
    assert "Fewer --outer-steps, or a lower --max-horizon or --max-networks" in printed
    assert list(out.parent.iterdir()) == []
