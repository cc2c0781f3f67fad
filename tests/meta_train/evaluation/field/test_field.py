"""The tasks: that each trains and is scored, from its seed alone, and which half it is in."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from meta_train.evaluation.field import (
    TASK_SETS,
    EvaluationTask,
    Problem,
    _data,
    _fine_tuning,
    _small_networks,
    as_problem,
    find_tasks,
    users_task,
)
from meta_train.tasks import Dataset, ModuleTask

SMALL = [*TASK_SETS["digits"], *TASK_SETS["held-out"], *TASK_SETS["yardstick"]]
DEV = [
    *("fashion-mlp-512", "emnist-cnn-batchnorm", "pneumonia-cnn-batch-8", "fashion-convnext"),
    *("emnist-mixer", "fashion-vit", "code-gpt-256", "vowels-gru", "sines-8-32-1", "houses-mlp"),
    *("fashion-vae", "farsi-conv-autoencoder", "communities-graph", "lora-gpt"),
]
TEST = [
    *("emnist-cnn-flatten", "farsi-cnn-pool-1000", "emnist-resnet", "code-gpt-64", "genome-lstm"),
    *("vowels-transformer", "devices-cnn-1d", "sines-8-32-1-1500", "forest-mlp-embeddings"),
    *("forest-mlp-batch-1024", "satellite-mlp", "houses-heavy-tails", "airfoil-mlp-5000"),
    *("robot-arm-mlp", "photo-diffusion", "photo-siren", "poisson-tanh", "moving-targets"),
    "finetune-autoencoder",
]


def names(tasks: str) -> list[str]:
    return [task.name for task in TASK_SETS[tasks]]


def first_losses(problem: Problem) -> list[float]:
    batches = zip(range(2), problem.batches, strict=False)
    return [problem.loss(problem.model, batch).item() for _, batch in batches]


# Sets


def test_the_halves_of_the_field_stay_as_they_are() -> None:
    """A new name adds itself to one of the lists and moves no other."""
    assert names("field-dev") == DEV
    assert names("field-test") == TEST
    assert sorted(names("field")) == sorted(DEV + TEST)


def test_the_quick_tasks_may_be_looked_at() -> None:
    assert len(names("field-quick")) == 8
    assert set(names("field-quick")) <= set(DEV)


def test_tasks_are_found_by_set_and_by_name() -> None:
    assert find_tasks(["digits"]) == list(TASK_SETS["digits"])
    twice = find_tasks(["digits-64-32-10", "digits"])
    assert len(twice) == len(TASK_SETS["digits"])
    single = names("field") + names("demo") + [task.name for task in SMALL]
    assert len(set(single)) == len(single)
    with pytest.raises(ValueError, match=r"'cifar'\. Choose sets \(field, field-dev"):
        find_tasks(["digits", "cifar"])


# Problems


@pytest.fixture
def brief_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks to fine-tune that were trained for two steps only."""
    monkeypatch.setattr(_fine_tuning, "_STEPS", 2)
    _fine_tuning._code_gpt.cache_clear()
    _fine_tuning._clothes_autoencoder.cache_clear()


@pytest.mark.skipif("NFN_DATA" not in os.environ, reason="needs the held-out data of NFN_DATA")
@pytest.mark.usefixtures("brief_training")
@pytest.mark.parametrize("task", TASK_SETS["field"], ids=lambda task: task.name)
def test_every_task_of_the_field_trains_and_is_scored(task: EvaluationTask) -> None:
    problem = task.start(0)
    trained = [p for p in problem.model.parameters() if p.requires_grad]
    loss = problem.loss(problem.model, next(iter(problem.batches)))
    grads = torch.autograd.grad(loss, trained)
    assert loss.isfinite()
    assert all(grad.isfinite().all() for grad in grads)
    assert any(grad.abs().max() > 0 for grad in grads)
    with torch.no_grad():
        scores = problem.score(problem.model.eval())
    assert all(np.isfinite(score) for score in scores.values())
    assert list(scores) in ([], ["test_loss"], ["test_accuracy"])


@pytest.mark.parametrize("task", TASK_SETS["demo"], ids=lambda task: task.name)
def test_the_demo_needs_no_folder_of_data(
    task: EvaluationTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NFN_DATA", raising=False)
    problem = task.start(0)
    assert all(np.isfinite(loss) for loss in first_losses(problem))
    with torch.no_grad():
        (score,) = problem.score(problem.model.eval()).values()
    assert np.isfinite(score)


@pytest.mark.parametrize("name", ["sines-8-32-1", "communities-graph", "moving-targets"])
def test_a_seed_decides_weights_and_batches_and_nothing_else_does(name: str) -> None:
    (task,) = find_tasks([name])
    first = first_losses(task.start(3))
    torch.manual_seed(99)
    assert first_losses(task.start(3)) == first
    assert first_losses(task.start(4)) != first


def test_missing_data_is_named_with_the_variable_that_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NFN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"text/no\.txt.*Point NFN_DATA to the folder"):
        _data.text("no")


def test_a_table_is_standardized_and_split_the_same_way_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(0).normal(5, 3, (50, 4)).astype(np.float32)
    rows[:, 3] = 7  # constant
    (tmp_path / "tables").mkdir()
    np.savez(tmp_path / "tables" / "some.npz", x=rows, y=rows[:, 0])
    monkeypatch.setenv("NFN_DATA", str(tmp_path))
    split = _data.table("some")
    x = torch.cat([split.train[0], split.test[0]])
    assert len(split.train[0]) == 40
    torch.testing.assert_close(x.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[:, :3].std(0), torch.ones(3))
    torch.testing.assert_close(split.train[1][:, 0], split.train[0][:, 0])


# Small networks that rules train as one stack


@pytest.fixture
def noise_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise instead of images, so that no data set has to be there."""

    def load(name: str) -> Dataset:
        size = 8 if name == "digits" else 28
        images = torch.rand(600, 1, size, size, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(600) % 10
        return Dataset(images, labels, images[:10], labels[:10])

    monkeypatch.setattr(_small_networks, "load_data", load)


@pytest.mark.usefixtures("noise_data")
@pytest.mark.parametrize("named", SMALL, ids=lambda task: task.name)
def test_every_small_network_trains_and_is_scored(named: EvaluationTask) -> None:
    assert named.task is not None
    built, generator = named.task(), torch.Generator().manual_seed(0)
    params = {n: p.requires_grad_() for n, p in built.init(generator).items()}
    loss = built.loss(params, built.batch(generator))
    grads = torch.autograd.grad(loss, list(params.values()))
    assert all(g.isfinite().all() for g in grads)
    assert set(built.spec.axes) == set(params)
    scores: dict[str, Tensor] = built.evaluate(params)
    assert list(scores) in (["test_accuracy"], ["test_loss"])


def test_a_task_of_meta_training_is_the_same_problem(toy: ModuleTask) -> None:
    generator, again = (torch.Generator().manual_seed(0) for _ in range(2))
    problem = as_problem(toy, again)
    params = toy.init(generator)
    losses = [toy.loss(params, toy.batch(generator)).item() for _ in range(2)]
    assert first_losses(problem) == pytest.approx(losses)
    expected = {name: float(value) for name, value in toy.evaluate(params).items()}
    assert problem.score(problem.model) == pytest.approx(expected)


# The user's own


PROBLEMS = """
import threading
import torch
from torch import nn
shared = nn.Linear(2, 1)
stuck = nn.Linear(2, 1)
stuck.lock = threading.Lock()
batches = [torch.ones(4, 2)]
def loss(model, batch): return model(batch).square().mean()
def same(): return shared, batches, loss
def locked(): return stuck, batches, loss
def two(): return shared, batches
"""


@pytest.fixture
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_problems.py").write_text(PROBLEMS)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("users_folder")
def test_a_users_model_is_copied_for_every_run() -> None:
    task = users_task("my_problems:same", 5)
    first, second = task.start(0), task.start(0)
    nn.init.zeros_(next(first.model.parameters()))
    assert first_losses(second) != first_losses(first)


@pytest.mark.usefixtures("users_folder")
def test_a_users_mistake_is_named() -> None:
    with pytest.raises(ValueError, match=r"'my_problems:locked' cannot be copied .*deepcopy takes"):
        users_task("my_problems:locked", 5).start(0)
    with pytest.raises(ValueError, match=r"must return \(model, batches, loss\)"):
        users_task("my_problems:two", 5).start(0)
    with pytest.raises(ValueError, match=r"problem 'my_problems:none' cannot be loaded"):
        users_task("my_problems:none", 5)
