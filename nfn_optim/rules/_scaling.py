"""Matrices become smaller or larger as a whole, where gradients ask for it.

Steps have a noise that adds up in the weights: a matrix grows whether or not a larger one is
better, and in deep networks all layers' growth multiplies. Its gradient tells: the cosine of
gradient and weights is positive where the loss would go down if the matrix became smaller. A step's
direction has hardly any of it, as it is one direction of many.

The cosine has a noise of its own, and shrinking and growing have different limits, so in a long run
it alone would wear matrices down. What is taken therefore becomes less with the time, as what the
average takes from the fast iterate does.
"""

from __future__ import annotations

from torch import Tensor

from .constants import ASKED_UNIT, MOST_GROWTH, SCALED_ALIKE, UNPOINTED


def shrunk(param: Tensor, direction: Tensor, shrinking: Tensor) -> Tensor:
    """What a step takes from a parameter as a whole.

    Entries that have no direction stay: those of neurons that are dead, and of inputs that are off.

    Args:
        param: The parameter `(*batch, *axes)`.
        direction: Where its steps point, likewise.
        shrinking: What `shrinking` returns `(*batch, 1, ...)`.
    """
    taken = shrinking.to(direction.dtype) * param.to(direction.dtype)
    return taken.masked_fill(direction.abs() < UNPOINTED, 0.0)


def shrinking(
    asked: Tensor, log_size: Tensor, default: Tensor, step: Tensor, scaling: float
) -> Tensor:
    """The share of each matrix that a step takes from it; where negative, it is added.

    What gradients ask for is read as a constant, as all that is read of gradients.

    Args:
        asked: Cosine of gradients and weights over the last steps `(*batch, parameters)`.
        log_size: Log of the size of steps, before what suits each parameter, likewise.
        default: What `default_sizes` returns `(parameters)`: only matrices are scaled.
        step: Number of this step `(*batch, parameters)`, from 1.
        scaling: The share at the step size one, where much is asked, in the first steps.
    """
    known = (asked / ASKED_UNIT).clamp(-MOST_GROWTH, 1) * (default > 0)
    known = known * (SCALED_ALIKE / step).clamp(max=1)
    return scaling * log_size.exp() * known.to(log_size.dtype)
