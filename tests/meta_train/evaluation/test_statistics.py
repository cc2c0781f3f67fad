"""What is read off curves and off the speed-ups of many tasks."""

import numpy as np
import pytest

from meta_train.evaluation import _statistics as statistics


def test_steps_to_a_loss_counts_the_steps_that_were_taken() -> None:
    losses = np.concatenate([np.full(40, 2.0), np.full(60, 1.0)])
    # The window of ten holds only ones once 40 + 10 steps are taken; 1.2 is reached with 8 of 10.
    assert statistics.steps_to(losses, 1.0) == 50
    assert statistics.steps_to(losses, 1.2) == 48
    assert statistics.steps_to(losses, 2.0) == 10
    assert statistics.steps_to(losses, 0.9) == np.inf


def test_the_end_of_a_run_that_failed_is_reached_by_none() -> None:
    assert statistics.steps_to(np.ones(20), np.inf) == np.inf


def test_a_run_reaches_its_own_end_loss_in_its_own_steps() -> None:
    losses = np.linspace(3, 1, 200)
    assert statistics.steps_to(losses, float(statistics.end_loss(losses))) == 200


def test_losses_are_means_of_a_tenth_of_the_run() -> None:
    losses = np.arange(100.0)
    assert statistics.end_loss(losses) == np.arange(90, 100).mean()
    assert statistics.loss_at(losses, 50) == np.arange(40, 50).mean()
    assert statistics.smoothed(losses)[0] == np.arange(10).mean()
    assert statistics.mean_loss(losses) == 49.5
    assert statistics.window(5) == 1


def test_diverged_runs_are_told_from_others() -> None:
    falling, rising = np.linspace(2, 1, 50), np.linspace(1, 2, 50)
    broken, back = falling.copy(), falling.copy()
    broken[-1], back[10] = np.inf, np.nan
    losses = np.stack([falling, rising, broken, back], axis=1)
    assert statistics.diverged(losses).tolist() == [False, True, True, True]
    assert np.isinf(statistics.mean_loss(losses)[2:]).all()


def test_interquartile_mean_ignores_outliers() -> None:
    groups = [np.array([1.0, 2.0, 3.0, 100.0]), np.array([2.0, 2.0, 3.0, -100.0])]
    assert statistics.interquartile_mean(groups) == pytest.approx((2 + 2 + 2 + 3) / 4)


def test_the_bootstrap_draws_tasks() -> None:
    """Without spread between tasks there is none in the interval, however seeds differ."""
    even = statistics.bootstrap_interval(np.tile([1.0, 3.0, 1.0, 3.0], (6, 1)))
    assert even == (2.0, 2.0)
    uneven = statistics.bootstrap_interval(np.arange(8.0)[:, None])
    assert uneven is not None
    assert uneven[0] < 3.5 < uneven[1]
    assert statistics.bootstrap_interval(np.ones((1, 3))) is None


def test_a_profile_is_the_share_of_tasks_within_a_factor_of_the_best() -> None:
    costs = {"a": [100.0, 300.0, np.inf], "b": [200.0, 100.0, np.inf]}
    shares = statistics.performance_profile(costs, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(shares["a"], [1 / 3, 1 / 3, 2 / 3])
    np.testing.assert_allclose(shares["b"], [1 / 3, 2 / 3, 2 / 3])
