"""How much sooner one training curve is where another one ends."""

from collections.abc import Sequence

import numpy as np
import pytest

from meta_train.evaluation import Curve, Measured, Row, speedup

STEPS = np.arange(10, 410, 10)


def row(losses: Sequence[float] | np.ndarray) -> Row:
    curve = Curve(tuple(STEPS.tolist()), *(tuple(map(float, losses)),) * 3)
    end = Measured(curve.mean[-1], 0.0, (curve.mean[-1],), 1.0, "constant")
    return Row("a", "b", "judged", end, end, {}, {}, None, None, 0, 1, "", (), False, curve)


def power(exponent: float, faster: float = 1.0) -> np.ndarray:
    return 5.0 * (faster * STEPS / 10.0) ** -exponent


def noise(seed: int, size: float) -> np.ndarray:
    return np.exp(size * np.random.default_rng(seed).standard_normal(len(STEPS)))


@pytest.mark.parametrize("size", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("exponent", [0.0, 0.05, 0.5, 2.0])
def test_no_curve_is_faster_than_itself(exponent: float, size: float) -> None:
    noisy = row(power(exponent) * noise(0, size))
    assert speedup(noisy, noisy) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("faster", [0.7, 0.95, 1.1, 1.5, 3.0])
@pytest.mark.parametrize("exponent", [0.3, 1.0])
def test_a_curve_that_takes_fewer_steps_is_as_much_faster(faster: float, exponent: float) -> None:
    found = speedup(row(power(exponent, faster)), row(power(exponent)))
    assert found == pytest.approx(faster, rel=0.1)


def test_noise_that_both_have_changes_little() -> None:
    shared = noise(1, 0.05)
    found = speedup(row(power(0.3, 1.5) * shared), row(power(0.3) * shared))
    assert found == pytest.approx(1.5, rel=0.2)


def test_where_nothing_is_gained_any_more_little_differences_count_little() -> None:
    flat = np.full(len(STEPS), 2.0)
    assert 0.85 < speedup(row(flat * 1.002), row(flat)) < 1
    assert 1 < speedup(row(flat * 0.998), row(flat)) < 1.2


def test_what_has_been_learned_by_heart_counts_as_the_same() -> None:
    first, second = power(4.0), power(4.0)
    first[30:], second[30:] = 1e-9, 1e-4
    assert speedup(row(second), row(first)) == pytest.approx(1)


def test_a_curve_that_does_not_arrive_in_twice_the_length_is_not_compared() -> None:
    assert speedup(row(power(0.5, 0.4)), row(power(0.5))) == 0


@pytest.mark.parametrize("failed", [np.inf, np.nan])
def test_nothing_is_said_of_runs_that_failed(failed: float) -> None:
    broken = row(np.full(len(STEPS), failed))
    assert speedup(broken, row(power(0.5))) == speedup(row(power(0.5)), broken) == 0
