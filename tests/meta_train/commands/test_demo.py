"""The demo's runs: plain training loops whose only difference is the optimizer."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from meta_train.commands import _demo_runs as _demo
from meta_train.evaluation import ADAM, Contender, find_tasks
from meta_train.evaluation.sweep._stacked import run_sweep
from meta_train.tasks import Task
from nfn_optim import NFNRule, load_rule, save_rule
from nfn_optim.rules import NFNRuleConfig

STEPS = 12


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks stall with several threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """An untrained rule: Adam at a learning rate of 0.01."""
    path = tmp_path / "rule.safetensors"
    save_rule(NFNRule(NFNRuleConfig(initial_lr=0.01)), path)
    return str(path)


def digits() -> Task:
    build = find_tasks([_demo.TASK])[0].task
    assert build is not None
    return build()


def test_adam_is_tuned_and_equals_the_evaluation_run() -> None:
    steps: list[None] = []
    run = _demo.run_adam(STEPS, lambda: steps.append(None))
    assert len(steps) == STEPS * len(ADAM.rates)
    sweep = run_sweep(digits(), ADAM, (0,), STEPS)
    constant = sweep.losses[:, : len(ADAM.rates), 0]
    best = constant[-1].argmin()  # a tenth of so few steps is one
    assert run.rate == ADAM.rates[best]
    np.testing.assert_allclose(run.losses, constant[:, best], rtol=1e-4)
    assert run.seconds < run.tuning_seconds


def test_both_start_from_the_same_network_and_batch(checkpoint: str) -> None:
    adam, learned = _demo.run_adam(2), _demo.run_learned(checkpoint, 2)
    assert adam.losses[0] == pytest.approx(learned.losses[0], rel=1e-6)


def test_the_learned_run_is_that_of_the_vectorised_comparison(checkpoint: str) -> None:
    learned = _demo.run_learned(checkpoint, STEPS)
    ours = Contender(
        name="ours", schedules=("constant",), make_rule=lambda lr: load_rule(checkpoint)
    )
    sweep = run_sweep(digits(), ours, (0,), STEPS)
    np.testing.assert_allclose(learned.losses, sweep.losses[:, 0, 0], rtol=1e-3)


def test_a_summary_says_when_the_target_was_reached() -> None:
    losses = np.concatenate([np.full(40, 2.0), np.full(60, 1.0)])
    run = _demo.Run("any", losses, 0.5, 1.0, 1.0)
    assert run.summary(1.0)["steps_to_adam_final_loss"] == 50
    assert run.summary(0.5)["steps_to_adam_final_loss"] is None
    assert run.summary(0.5)["loss_at_50"] == 1.0
    assert "loss_at_200" not in run.summary(0.5)
