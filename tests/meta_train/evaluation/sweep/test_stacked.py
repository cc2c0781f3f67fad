"""All settings and seeds as one stack of networks: the same as one network at a time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train.evaluation import EvaluationTask
from meta_train.evaluation.contenders import ADAM, ADAMW, SGD, Contender, Setting
from meta_train.evaluation.sweep import _stacked as stacked
from meta_train.evaluation.sweep._run import train
from meta_train.evaluation.sweep._stacked import run_sweep
from meta_train.tasks import ModuleTask

STEPS = 30


@pytest.mark.parametrize("contender", [ADAM, ADAMW, SGD], ids=lambda contender: contender.name)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_stacked_runs_equal_torch_optim(
    contender: Contender, schedule: str, toy: ModuleTask, toy_task: EvaluationTask
) -> None:
    runs = run_sweep(toy, contender, (0, 3), STEPS).runs()
    setting = Setting(contender.rates[2], schedule)
    for run in (run for run in runs if run.setting == setting):
        single = train(toy_task, contender, setting, run.seed)
        np.testing.assert_allclose(run.losses, single.losses, rtol=1e-5)
        assert run.scores == pytest.approx(single.scores)


def test_a_seed_means_the_same_network_and_batches_for_every_optimizer(toy: ModuleTask) -> None:
    seeds = (0, 1, 2)
    still = [replace(contender, rates=(0.0, 0.0)) for contender in (ADAM, SGD)]
    adam, sgd = (run_sweep(toy, contender, seeds, STEPS).losses for contender in still)
    np.testing.assert_array_equal(adam, sgd)
    np.testing.assert_array_equal(adam[:, 0], adam[:, 1])
    assert not np.isclose(adam[:, 0, 0], adam[:, 0, 1]).any()
    alone = run_sweep(toy, still[0], (2,), STEPS).losses
    np.testing.assert_allclose(alone[:, 0, 0], adam[:, 0, 2], rtol=1e-12)


def test_chunks_change_nothing(toy: ModuleTask, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_sweep(toy, ADAM, (0, 1, 2), STEPS)
    monkeypatch.setattr(stacked, "networks_at_once", lambda task: 4)
    pieces = run_sweep(toy, ADAM, (0, 1, 2), STEPS)
    np.testing.assert_allclose(pieces.losses, whole.losses, rtol=1e-9)
    np.testing.assert_allclose(pieces.scores["test_accuracy"], whole.scores["test_accuracy"])


def test_larger_networks_are_trained_fewer_at_once() -> None:
    def networks(width: int) -> int:
        build: Callable[[], nn.Module] = lambda: nn.Linear(10, width)  # noqa: E731
        data = torch.ones(4, 10), torch.zeros(4, dtype=torch.long)
        return stacked.networks_at_once(ModuleTask(build, F.cross_entropy, data))

    assert networks(10) > 10 * networks(1_000) > 10
    assert networks(200_000) == 1
