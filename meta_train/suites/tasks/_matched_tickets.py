"""Masks for new starts from how other networks have moved in training.

Networks of one task move alike, but for the numbering of their neurons. (Masks of one network are
renumbered for another by Adnan et al., arXiv 2505.05143, where both are trained.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nfn_optim import NetworkSpec

from ...population import as_params

_SWEEPS = 2  # over the hidden layers
_FACTOR = 2.5  # of a movement: where the weights that it moves most count more than the start


def expected_networks(spec: NetworkSpec, starts: Tensor, moves: Tensor) -> Tensor:
    """Where training may take MLPs `(n, d)`: each takes the way `(m, d)` that agrees most with it.

    Ways come with hidden neurons renumbered to agree. What is known of two networks is not mixed,
    since the layers of one way fit together.

    Args:
        spec: The symmetry of the MLPs.
        starts: In units of their standard deviations.
        moves: In the same units.
    """
    return torch.stack([start + _FACTOR * _best_move(spec, start, moves) for start in starts])


def _best_move(spec: NetworkSpec, start: Tensor, moves: Tensor) -> Tensor:
    own = as_params(spec, start[None])
    weights = [own[name][0] for name in spec.weights]
    best, highest = moves[0], -torch.inf
    for move in moves:
        layers = {name: tensor[0] for name, tensor in as_params(spec, move[None]).items()}
        orders = matching(weights, [layers[name] for name in spec.weights])
        renumbered = _renumber(spec, layers, orders)
        agreement = float(start @ renumbered)
        if agreement > highest:
            best, highest = renumbered, agreement
    return best


def matching(start: Sequence[Tensor], move: Sequence[Tensor]) -> list[Tensor]:
    """Orders of a movement's hidden neurons, layer by layer, that make it agree with a start.

    Each layer in turn gets the best order, given those of the layers beside it; at first the layer
    behind it has none yet, so that the numbering of the start's neurons does not matter.

    Shape:
        Weights `(n_out, n_in)` of each layer to `(n_out,)` of each but the last.
    """
    inputs, outputs = (
        torch.arange(count, device=move[0].device) for count in (move[0].shape[1], len(move[-1]))
    )
    orders: list[Tensor | None] = [inputs, *[None] * (len(move) - 1), outputs]
    for _ in range(_SWEEPS):
        for place in range(1, len(move)):
            agreement = start[place - 1] @ move[place - 1][:, orders[place - 1]].T
            if orders[place + 1] is not None:
                agreement = agreement + start[place].T @ move[place][orders[place + 1]]
            _, best = linear_sum_assignment(agreement.cpu().numpy(), maximize=True)
            orders[place] = torch.as_tensor(best, device=agreement.device)
    return [order for order in orders[1:-1] if order is not None]


def _renumber(spec: NetworkSpec, layers: dict[str, Tensor], orders: Sequence[Tensor]) -> Tensor:
    """An MLP's parameters `(d,)`, one after another, with hidden neurons in new orders."""
    for place, order in enumerate(orders):
        weight, vector = spec.weights[place], spec.vectors[place]
        following = spec.weights[place + 1]
        layers[weight], layers[vector] = layers[weight][order], layers[vector][order]
        layers[following] = layers[following][:, order]
    return torch.cat([tensor.flatten() for tensor in layers.values()])
