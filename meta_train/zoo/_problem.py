"""What the networks of a population learn.

Shape legend: `n` networks of `d` parameters, `m` samples, `b` of them a step, `c` channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec

from ._rows import as_params
from ._sine import mean_square
from ._stacked import cross_entropy, forward


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem(ABC):
    """Samples, and a loss of those that a step draws.

    Attributes:
        module: The networks' layers.
        spec: The networks' spec.
        inputs: Samples `(m, *shape)` of all networks, or of each `(n, m, *shape)`.
        targets: What belongs to them, likewise.
        l2: Coefficients `(n,)` of the squared weights in the loss; None is none.
        masks: Factors `(n, d)` of the weights; None is none.
    """

    module: nn.Sequential
    spec: NetworkSpec
    inputs: Tensor
    targets: Tensor
    l2: Tensor | None = None
    masks: Tensor | None = None

    @property
    @abstractmethod
    def sample_shape(self) -> torch.Size:
        """Of one input."""

    @abstractmethod
    def compute(self, weights: Tensor, index: Tensor, *keep: Tensor) -> tuple[Tensor, Tensor]:
        """Losses `(n,)` and gradients `(n, d)`.

        Args:
            weights: Of all networks, `(n, d)`.
            index: Samples of each, `(n, b)`.
            keep: Factors `(n, b, c)` of the channels after each activation: dropout.
        """


class Classification(Problem):
    """Cross-entropy with L2; inputs are images `(m, c, h, w)`, targets are classes `(m,)`."""

    @property
    def sample_shape(self) -> torch.Size:
        """Of one image."""
        return self.inputs.shape[1:]

    def compute(self, weights: Tensor, index: Tensor, *keep: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        with torch.enable_grad():
            leaf = weights.detach().requires_grad_()
            values = self._losses(leaf, index, keep)
            (gradients,) = torch.autograd.grad(values.sum(), leaf)
        return values.detach(), gradients

    def _losses(self, weights: Tensor, index: Tensor, keep: tuple[Tensor, ...]) -> Tensor:
        params = as_params(self.spec, weights if self.masks is None else weights * self.masks)
        logits = forward(self.module, params, self.inputs[index], keep)
        losses = cross_entropy(logits, self.targets[index])
        if self.l2 is None:
            return losses
        squares = [params[name].flatten(1).square().sum(1) for name in self.spec.weights]
        return losses + self.l2 * torch.stack(squares).sum(0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Regression(Problem):
    """Mean square of SIRENs; inputs are `(m, c)` or `(n, m, c)`, targets are `(n, m, c)`.

    Attributes:
        omega: Frequency factor.
    """

    omega: float

    @property
    def sample_shape(self) -> torch.Size:
        """Of one point."""
        return self.inputs.shape[-1:]

    def compute(self, weights: Tensor, index: Tensor, *keep: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; there is no dropout."""
        if self.inputs.dim() == 2:
            coords = self.inputs[index]
        else:
            coords = _pick(self.inputs, index)
        values = _pick(self.targets, index)
        return mean_square(weights, coords.mT, values.mT, spec=self.spec, omega=self.omega)


def _pick(samples: Tensor, index: Tensor) -> Tensor:
    """Of `(n, m, c)` those of an index `(n, b)`."""
    return samples.take_along_dim(index[..., None], dim=1)
