"""A small task of three noisy classes, and what trains it."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train.evaluation import EvaluationTask
from meta_train.tasks import ModuleTask

STEPS = 30


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks stall with several threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_toy(seed: int = 0, dtype: torch.dtype = torch.float64) -> ModuleTask:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (120,), generator=generator)
    points = torch.randn(120, 6, generator=generator, dtype=dtype)
    points[:, :3] += 2 * F.one_hot(labels, 3)

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)

    train, test = (points[:90], labels[:90]), (points[90:], labels[90:])
    return ModuleTask(build, F.cross_entropy, train, test_data=test, batch_size=16)


@pytest.fixture
def toy() -> ModuleTask:
    """Six-dimensional points of three classes and a network of five neurons, in float64."""
    return make_toy()


@pytest.fixture
def other_toy() -> ModuleTask:
    """The same with other points."""
    return make_toy(1)


@pytest.fixture
def toy_task(toy: ModuleTask) -> EvaluationTask:
    """The small task to compare on: rules train it as a stack, other optimizers in a loop."""
    return EvaluationTask.from_task("toy", lambda: toy, STEPS)


@pytest.fixture
def toy_loop_task() -> EvaluationTask:
    """The same in float32, without the form that rules train as a stack."""
    task = EvaluationTask.from_task("toy", lambda: make_toy(dtype=torch.float32), STEPS)
    return EvaluationTask(name="toy", problem=task.problem, num_steps=STEPS)
