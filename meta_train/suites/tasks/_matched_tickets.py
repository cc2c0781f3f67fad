"""Masks for new starts from how other networks have moved in training.

Networks of one task move alike, but for the numbering of their neurons. (Masks of one network are
renumbered for another by Adnan et al., arXiv 2505.05143, where both are trained.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nfn_optim import WeightSpaceFeatures
from nfn_optim.symmetry import permute

from ..networks import flatten

_SWEEPS = 2  # over the hidden layers
_FACTOR = 2.5  # of a movement: where the weights that it moves most count more than the start


def expected_networks(
    starts: WeightSpaceFeatures, moves: WeightSpaceFeatures, *, own: bool = False
) -> WeightSpaceFeatures:
    """Where training may take MLPs: each takes the way that agrees most with it.

    Ways come with hidden neurons renumbered to agree. What is known of two networks is not mixed,
    since the layers of one way fit together.

    Args:
        starts: In units of their standard deviations, `(n, *axes, 1)`.
        moves: In the same units, `(m, *axes, 1)`.
        own: Whether these are the ways of the first starts, of which none then takes its own.

    Raises:
        ValueError: If there is no way but a start's own.
    """
    if own and moves.batch_shape[0] < 2:
        raise ValueError("one network has no other's way to take. Give at least two to learn from.")
    ways, taken = _each(moves), []
    for place, start in enumerate(_each(starts)):
        others = [*ways[:place], *ways[place + 1 :]] if own else ways
        taken.append(_best_move(start, others))
    added = (torch.cat(several) for several in zip(*(way.values() for way in taken), strict=True))
    return starts.like(
        [start + _FACTOR * way for start, way in zip(starts.values(), added, strict=True)]
    )


def _each(features: WeightSpaceFeatures) -> list[WeightSpaceFeatures]:
    """Features `(n, *axes, 1)` as `n` of `(1, *axes, 1)`."""
    several = zip(*(tensor.split(1) for tensor in features.values()), strict=True)
    return [features.like(list(one)) for one in several]


def _best_move(
    start: WeightSpaceFeatures, moves: Sequence[WeightSpaceFeatures]
) -> WeightSpaceFeatures:
    renumbered = [permute(move, matching(start, move)) for move in moves]
    (own,) = flatten(start)
    return max(renumbered, key=lambda move: float(own @ flatten(move)[0]))


def matching(start: WeightSpaceFeatures, move: WeightSpaceFeatures) -> dict[str, Tensor]:
    """Permutations of a movement's hidden neurons that make it agree with a start.

    Each layer in turn gets the best order, given those of the layers beside it; at first the layer
    behind it has none yet, so that the numbering of the start's neurons does not matter.

    Shape:
        Features `(1, *axes, 1)` to orders `(n_out,)` of each layer but the last, by population.
    """
    spec = start.spec
    own, moved = ([one[name][0, ..., 0] for name in spec.weights] for one in (start, move))
    inputs, outputs = (
        torch.arange(count, device=moved[0].device) for count in (moved[0].shape[1], len(moved[-1]))
    )
    orders: list[Tensor | None] = [inputs, *[None] * (len(moved) - 1), outputs]
    for _ in range(_SWEEPS):
        for place in range(1, len(moved)):
            agreement = own[place - 1] @ moved[place - 1][:, orders[place - 1]].T
            if orders[place + 1] is not None:
                agreement = agreement + own[place].T @ moved[place][orders[place + 1]]
            _, best = linear_sum_assignment(agreement.cpu().numpy(), maximize=True)
            orders[place] = torch.as_tensor(best, device=agreement.device)
    hidden = zip(spec.weights[:-1], orders[1:-1], strict=True)
    return {str(spec.axes[name][0]): order for name, order in hidden if order is not None}
