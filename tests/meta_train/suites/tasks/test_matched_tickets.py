"""Movements of other networks are renumbered until they agree with a start."""

import torch
from torch import Tensor

from meta_train.population import as_params
from meta_train.suites.data import TicketConfig, classifier
from meta_train.suites.tasks._matched_tickets import expected_networks, matching
from nfn_optim import NetworkSpec

SPEC = NetworkSpec.from_module(classifier(20, 4, TicketConfig(hidden=(7, 6))))
LENGTH = 20 * 7 + 7 + 7 * 6 + 6 + 6 * 4 + 4


def layers(row: Tensor) -> list[Tensor]:
    params = as_params(SPEC, row[None])
    return [params[name][0] for name in SPEC.weights]


def renumbered(rows: Tensor, orders: list[Tensor]) -> Tensor:
    """The same MLPs `(n, d)` with other numbers for their hidden neurons."""
    params = {name: tensor.clone() for name, tensor in as_params(SPEC, rows).items()}
    for place, order in enumerate(orders):
        weight, vector = SPEC.weights[place], SPEC.vectors[place]
        following = SPEC.weights[place + 1]
        params[weight], params[vector] = params[weight][:, order], params[vector][:, order]
        params[following] = params[following][:, :, order]
    return torch.cat([tensor.flatten(1) for tensor in params.values()], dim=1)


def some_orders(generator: torch.Generator) -> list[Tensor]:
    return [torch.randperm(width, generator=generator) for width in (7, 6)]


def test_a_renumbered_network_is_matched_with_itself(generator: torch.Generator) -> None:
    start = torch.randn(1, LENGTH, generator=generator)
    orders = some_orders(generator)
    found = matching(layers(renumbered(start, orders)[0]), layers(start[0]))
    assert [order.tolist() for order in found] == [order.tolist() for order in orders]


def test_the_movement_that_agrees_is_taken(generator: torch.Generator) -> None:
    moves = torch.randn(3, LENGTH, generator=generator)
    starts = renumbered(moves[1:2], some_orders(generator))
    expected = expected_networks(SPEC, starts, moves)
    torch.testing.assert_close(expected, starts + 2.5 * starts)


def test_renumbering_starts_renumbers_what_is_expected(generator: torch.Generator) -> None:
    starts, moves = torch.randn(2, 3, LENGTH, generator=generator, dtype=torch.double)
    orders = some_orders(generator)
    expected = renumbered(expected_networks(SPEC, starts, moves), orders)
    torch.testing.assert_close(expected_networks(SPEC, renumbered(starts, orders), moves), expected)
