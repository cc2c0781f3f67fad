"""One network in the loop that users write: what an optimizer does wrong is its result."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from meta_train.evaluation import EvaluationTask, Problem
from meta_train.evaluation.contenders import ADAMW, SGD, Contender, Setting
from meta_train.evaluation.sweep import peak_bytes, seconds_per_step
from meta_train.evaluation.sweep._run import endless, seeded, train
from meta_train.evaluation.sweep._start import look_at

CONSTANT = Setting(1.0, "constant")


def sgd_with(step: Any) -> Contender:
    """SGD whose step is another."""

    class Other(torch.optim.SGD):
        pass

    Other.step = step  # type: ignore[method-assign]
    make = lambda module, lr, num_steps: Other(module.parameters(), lr=lr)  # noqa: E731
    return Contender(name="other", make_optimizer=make)


def task_of(loss: Any, model: nn.Module | None = None) -> EvaluationTask:
    def problem(generator: torch.Generator) -> Problem:
        return Problem(model or nn.Linear(2, 1), [torch.ones(3, 2)], loss)

    return EvaluationTask(name="some", problem=problem, num_steps=10)


def test_an_error_of_an_optimizer_is_a_row_with_the_reason(toy_loop_task: EvaluationTask) -> None:
    def step(self: Any, closure: Any = None) -> None:
        raise torch.OutOfMemoryError("no memory\nfor this")

    run = train(toy_loop_task, sgd_with(step), CONSTANT, 0)
    assert re.fullmatch(r"OutOfMemoryError: no memory \(test_run\.py:\d+\)", run.failure)
    assert run.raised
    assert np.isfinite(run.losses).tolist() == [True] + [False] * 29


def test_a_run_ends_where_the_loss_is_not_finite(toy_loop_task: EvaluationTask) -> None:
    run = train(toy_loop_task, SGD, Setting(1e38, "constant"), 0)
    assert "the loss is not finite at step" in run.failure
    assert not run.raised
    assert run.scores == {}


def test_a_contender_without_an_optimizer_says_so(toy_loop_task: EvaluationTask) -> None:
    run = train(toy_loop_task, replace(ADAMW, make_optimizer=None), CONSTANT, 0)
    assert run.failure == "TypeError: adamw has no optimizer of a module. Give make_optimizer."


def test_a_schedule_multiplies_the_rates_of_all_groups(toy_loop_task: EvaluationTask) -> None:
    seen: list[float] = []

    def step(self: Any, closure: Any = None) -> None:
        seen.append(self.param_groups[0]["lr"])

    train(toy_loop_task, sgd_with(step), Setting(2.0, "cosine"), 0)
    expected = 1 + np.cos(np.pi * np.arange(30) / 30)
    np.testing.assert_allclose(seen, expected)


def test_weights_of_an_average_are_scored_and_others_are_trained(
    toy_loop_task: EvaluationTask,
) -> None:
    """A schedule-free optimizer is told before training and before the score."""
    calls: list[str] = []

    class Averaging(torch.optim.SGD):
        def train(self) -> None:
            calls.append("train")

        def eval(self) -> None:
            calls.append("eval")

    make = lambda module, lr, num_steps: Averaging(module.parameters(), lr=lr)  # noqa: E731
    train(toy_loop_task, Contender(name="average", make_optimizer=make), CONSTANT, 0)
    assert calls == ["train", "eval"]


def test_finite_batches_start_again_and_used_up_ones_are_an_error() -> None:
    again = endless([1, 2])
    assert [next(again) for _ in range(5)] == [1, 2, 1, 2, 1]
    once: Iterator[int] = endless(iter([1]))
    assert next(once) == 1
    with pytest.raises(ValueError, match="batches ran out"):
        next(once)


def test_global_randomness_is_seeded_within_a_run_and_untouched_after_it() -> None:
    def numbers() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), float(torch.rand(()))

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = numbers()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    with seeded(1):
        inside = numbers()
    assert numbers() == expected
    with seeded(1):
        assert numbers() == inside


def test_an_optimizer_that_draws_when_it_is_made_sees_the_same_batches() -> None:
    def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return model(batch).sum() * 0 + batch.sum()

    def batches() -> Iterator[torch.Tensor]:
        while True:
            yield torch.rand(3, 2)

    def drawing(module: nn.Module, lr: float, num_steps: int) -> torch.optim.Optimizer:
        torch.rand(7)
        return torch.optim.SGD(module.parameters(), lr=lr)

    task = EvaluationTask(
        name="some", problem=lambda _: Problem(nn.Linear(2, 1), batches(), loss), num_steps=4
    )
    runs = [
        train(task, contender, CONSTANT, 0)
        for contender in (SGD, Contender(name="drawing", make_optimizer=drawing))
    ]
    np.testing.assert_array_equal(runs[0].losses, runs[1].losses)


# Before the long run


def test_a_loss_that_is_not_finite_at_the_start_is_refused() -> None:
    nan = task_of(lambda model, batch: model(batch).mean() * float("nan"))
    with pytest.raises(ValueError, match="task 'some': the loss is nan before the first step"):
        look_at(nan, 0)


@pytest.mark.parametrize("loss", [lambda m, b: m(b), lambda m, b: 1.0, lambda m, b: b.sum()])
def test_what_is_no_loss_is_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match="task 'some': the loss must be a scalar tensor"):
        look_at(task_of(loss), 0)


def test_a_start_tells_problems_apart() -> None:
    def square(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return model(batch).square().mean()

    def cube(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return model(batch).abs().pow(3).mean()

    prints = [
        look_at(task_of(square), 0).fingerprint,
        look_at(task_of(square), 1).fingerprint,
        look_at(task_of(cube), 0).fingerprint,
    ]
    assert len(set(prints)) == 3
    assert look_at(task_of(square), 0).fingerprint == prints[0]
    assert look_at(task_of(square), 0).num_weights == 3


# Costs


def test_adam_holds_two_more_numbers_a_weight_than_plain_descent() -> None:
    model = nn.Linear(100, 100)
    task = task_of(
        lambda m, b: m(b).square().mean(),
    )
    task = replace(
        task,
        problem=lambda generator: Problem(
            nn.Linear(100, 100), [torch.ones(1, 100)], lambda m, b: m(b).square().mean()
        ),
    )
    plain = lambda module, lr, num_steps: torch.optim.SGD(module.parameters(), lr=lr)  # noqa: E731
    adam = peak_bytes(task, ADAMW)
    descent = peak_bytes(task, Contender(name="plain", make_optimizer=plain))
    assert adam is not None
    assert descent is not None
    weights = 4 * sum(p.numel() for p in model.parameters())
    assert adam - descent >= 2 * weights
    assert adam - descent <= 4 * weights


def test_costs_of_what_raises_are_left_out(toy_loop_task: EvaluationTask) -> None:
    broken = Contender(name="broken")
    seconds = seconds_per_step(toy_loop_task, [ADAMW, broken])
    assert list(seconds) == ["adamw"]
    assert seconds["adamw"] > 0
    assert peak_bytes(toy_loop_task, broken) is None
