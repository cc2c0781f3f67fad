"""Movements of other networks are renumbered until they agree with a start."""

import pytest
import torch

from meta_train.suites.data import TicketConfig, classifier
from meta_train.suites.tasks._matched_tickets import expected_networks, matching
from nfn_optim import NetworkSpec
from nfn_optim.symmetry import permute, random_permutations
from nfn_optim.testing import random_features

SPEC = NetworkSpec.from_module(classifier(20, 4, TicketConfig(hidden=(7, 6)))).hnp()


def test_a_renumbered_network_is_matched_with_itself(generator: torch.Generator) -> None:
    start = random_features(SPEC, 1, generator, batch=(1,))
    orders = random_permutations(SPEC, generator)
    found = matching(permute(start, orders), start)
    assert len(found) == 2
    assert {k: o.tolist() for k, o in found.items()} == {k: o.tolist() for k, o in orders.items()}


def test_the_movement_that_agrees_is_taken(generator: torch.Generator) -> None:
    moves = random_features(SPEC, 1, generator, batch=(3,))
    second = moves.map(lambda tensor: tensor[1:2])
    starts = permute(second, random_permutations(SPEC, generator))
    for name, found in expected_networks(starts, moves).items():
        torch.testing.assert_close(found, starts[name] + 2.5 * starts[name])


def test_none_takes_its_own_movement_where_it_is_among_them(generator: torch.Generator) -> None:
    moves = random_features(SPEC, 1, generator, batch=(3,))
    own = expected_networks(moves, moves)
    others = expected_networks(moves, moves, own=True)
    last = expected_networks(moves.map(lambda t: t[2:]), moves.map(lambda t: t[:2]))
    for name in SPEC.names:
        torch.testing.assert_close(own[name], 3.5 * moves[name])
        assert not torch.allclose(others[name], own[name])
        torch.testing.assert_close(others[name][2:], last[name])
    one = moves.map(lambda t: t[:1])
    with pytest.raises(ValueError, match="at least two"):
        expected_networks(one, one, own=True)


def test_renumbering_starts_renumbers_what_is_expected(generator: torch.Generator) -> None:
    starts, moves = (
        random_features(SPEC, 1, generator, batch=(3,), dtype=torch.double) for _ in range(2)
    )
    orders = random_permutations(SPEC, generator)
    expected = permute(expected_networks(starts, moves), orders)
    for name, found in expected_networks(permute(starts, orders), moves).items():
        torch.testing.assert_close(found, expected[name])
