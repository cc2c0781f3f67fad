"""Runs are dealt so that processes end an outer step together."""

import itertools

import pytest
import torch

from meta_train.training._dealing import deal


def longest(expected: list[float], owners: list[int]) -> float:
    return max(
        sum(cost for cost, owner in zip(expected, owners, strict=True) if owner == rank)
        for rank in set(owners)
    )


@pytest.mark.parametrize("size", [2, 3])
def test_no_process_has_much_more_to_do_than_in_the_best_dealing(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    owners = [i % size for i in range(6)]
    better = 0
    for _ in range(50):
        expected = (0.2 + torch.rand(6, generator=generator)).tolist()
        dealt = deal(expected, owners, size)
        best = min(longest(expected, list(way)) for way in itertools.product(range(size), repeat=6))
        assert longest(expected, dealt) <= 4 / 3 * best  # what dealing the longest first keeps to
        assert longest(expected, dealt) <= longest(expected, owners)
        better += longest(expected, dealt) < longest(expected, owners)
    assert better > 25


def test_runs_stay_where_moving_them_gains_little() -> None:
    assert deal([1.0, 1.0, 1.02, 1.0], [0, 0, 1, 1], 2) == [0, 0, 1, 1]
    assert deal([1.0, 1.0, 1.0], [1, 0, 0], 2) == [1, 0, 0]
    assert deal([3.0, 1.0, 1.0, 1.0], [0, 0, 1, 1], 2) == [0, 1, 1, 1]


def test_a_run_of_which_nothing_is_known_counts_as_the_mean_of_the_others() -> None:
    assert deal([0.0, 0.0], [0, 0], 2) != [0, 0]
    assert deal([4.0, 0.0, 2.0, 0.0], [0, 0, 1, 1], 2) == deal(
        [4.0, 3.0, 2.0, 3.0], [0, 0, 1, 1], 2
    )
