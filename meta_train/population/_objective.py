"""What the networks of a population are trained on: samples and a loss.

Shape legend: `n` networks of `d` parameters, `m` samples, `b` of them a step, `c` channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfn_optim import NetworkSpec

from ._rows import as_params
from ._sine import Sine, mean_square
from ._stacked import cross_entropy, forward


@dataclass(frozen=True, eq=False, kw_only=True)
class Objective(ABC):
    """Samples, and a loss of those in a batch.

    Attributes:
        module: The networks' layers.
        spec: The networks' spec.
        inputs: Samples `(m, *shape)` of all networks, or of each `(n, m, *shape)`.
        targets: Targets of the samples, stacked likewise.
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
        """Shape of one input."""

    @property
    def num_samples(self) -> int:
        """Number of samples of a network."""
        return self.inputs.shape[int(self.has_own_inputs)]

    @property
    def has_own_inputs(self) -> bool:
        """Whether each network has inputs of its own."""
        return self.inputs.dim() > 1 + len(self.sample_shape)

    @abstractmethod
    def compute(self, weights: Tensor, index: Tensor, *keep: Tensor) -> tuple[Tensor, Tensor]:
        """Losses `(n,)` and gradients `(n, d)`.

        Args:
            weights: Of all networks, `(n, d)`.
            index: Samples of each, `(n, b)`.
            keep: Factors `(n, b, c)` of the channels after each activation: dropout.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class Classification(Objective):
    """Cross-entropy with L2; inputs are images `(m, c, h, w)`, targets are classes `(m,)`.

    Raises:
        ValueError: If the targets are not a class, int64 and not negative, for each image.
    """

    def __post_init__(self) -> None:
        targets = self.targets
        if targets.dtype != torch.int64 or targets.shape != self.inputs.shape[:1]:
            raise ValueError(
                f"targets have the shape {tuple(targets.shape)} and dtype {targets.dtype}. "
                f"Pass one class, int64, for each of {len(self.inputs)} images."
            )
        if len(targets) and targets.min() < 0:
            raise ValueError(f"classes count from 0; got {int(targets.min())}.")

    @property
    def sample_shape(self) -> torch.Size:
        """Shape of one image."""
        return self.inputs.shape[1:]

    def compute(self, weights: Tensor, index: Tensor, *keep: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and gradients by autograd; see `Objective.compute`."""
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
class Regression(Objective):
    """Mean square of SIRENs; inputs are `(m, c)` or `(n, m, c)`, targets are `(n, m, c)`.

    Raises:
        ValueError: If there are not as many targets as inputs, of the same dtype.
    """

    def __post_init__(self) -> None:
        inputs, targets = self.inputs, self.targets
        fitting = (targets.shape[1:-1], targets.shape[:-1])
        if targets.dim() != 3 or inputs.shape[:-1] not in fitting or inputs.dtype != targets.dtype:
            raise ValueError(
                f"inputs {tuple(inputs.shape)} of {inputs.dtype} do not fit targets "
                f"{tuple(targets.shape)} of {targets.dtype}. Pass targets (n, m, c) and inputs "
                "(m, c) or (n, m, c) of one dtype."
            )

    @property
    def omega(self) -> float:
        """Frequency factor of the module's sines."""
        return next(layer.omega for layer in self.module if isinstance(layer, Sine))

    @property
    def sample_shape(self) -> torch.Size:
        """Shape of one point."""
        return self.inputs.shape[-1:]

    def compute(self, weights: Tensor, index: Tensor, *keep: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and gradients written out, without dropout; see `Objective.compute`."""
        coords = _pick(self.inputs, index) if self.has_own_inputs else self.inputs[index]
        values = _pick(self.targets, index)
        return mean_square(weights, coords.mT, values.mT, spec=self.spec, omega=self.omega)


def _pick(samples: Tensor, index: Tensor) -> Tensor:
    """Samples `(n, b, c)`: of `(n, m, c)` those at the places `(n, b)`."""
    return samples.take_along_dim(index[..., None], dim=1)
