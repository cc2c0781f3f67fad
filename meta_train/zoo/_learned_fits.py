"""SIRENs fitted in a few steps, from a shared start and with rates that are learned.

The start is learned by gradients through the steps (MAML, arXiv 1703.03400; for neural fields
arXiv 2012.02189), and so is a rate for every parameter in every step (Meta-SGD, arXiv 1707.09835).

Shape legend: `n` fields of `p` parameters, from `d` coordinates to `c` values, known at `m` points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap

from nfn_optim import NetworkSpec

from ..population import as_params, as_rows, join, siren_values
from ..support import Progress, remember, require_counts
from ..tasks import Params
from ._fields import FieldConfig, image_grid, image_values, siren

_RATE_UNIT = 10.0  # of rates: Adam's steps know no scale, so that rates move farther than the start
_AT_ONCE = 250  # fields fitted together after learning


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How a shared start and its rates are learned: Adam, the rate falling linearly.

    Attributes:
        num_steps: Number of Adam steps, each on other images.
        batch_size: Images a step.
        num_points: Points a step that the error is measured at, after the fits.
        lr: Adam's rate at the start.

    Raises:
        ValueError: If a number is not positive and finite.
    """

    num_steps: int = 1_000
    batch_size: int = 64
    num_points: int = 196
    lr: float = 2e-3

    def __post_init__(self) -> None:
        require_counts(self, "num_steps", "batch_size", "num_points")
        if not 0 < self.lr < inf:
            raise ValueError(f"lr must be positive and finite; got {self.lr}.")


class LearnedFit(nn.Module):
    """Fits SIRENs by a few steps of gradient descent on the mean square; differentiable.

    All fields begin with the same parameters, so the gradient of the first step is one product of
    residuals with the Jacobian of the start: many fields cost hardly more than one.

    Args:
        coords: Points of all fields, `(m, d)`.
        channels: Values at a point.
        config: The SIREN and how it is fitted: `num_steps` steps, the first on all points and the
            others on `num_points` of them; `lr` is every rate, and `start` draws the start, before
            anything is learned.
        seed: Of the start, and of the points of later steps.

    Attributes:
        start: Parameters that all fields begin with, `(p,)` in the order of the spec.
        changes: Of the rates, `(steps, p)` in tens of `lr`: rates are `lr * (1 + 10 * changes)`.

    Shape:
        Values `(n, m, c)` to stacked parameters `(n, *shape)` by name.
    """

    def __init__(self, coords: Tensor, channels: int, config: FieldConfig, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.spec = NetworkSpec.from_module(siren(coords.shape[-1], channels, config))
        self.config = config
        self.start = nn.Parameter(
            as_rows(self.spec, config.start(self.spec, 1, config.omega, generator))[0]
        )
        self.changes = nn.Parameter(torch.zeros(config.num_steps, len(self.start)))
        num_points = min(config.num_points, len(coords))
        orders = [
            torch.randperm(len(coords), generator=generator)[:num_points]
            for _ in range(config.num_steps - 1)
        ]
        self.coords: Tensor
        self.points: Tensor
        self.register_buffer("coords", coords.float())
        self.register_buffer(
            "points", torch.stack(orders) if orders else torch.empty(0, num_points).long()
        )

    @property
    def rates(self) -> Tensor:
        """Rates of every step and parameter, `(steps, p)`."""
        return self.config.lr * (1 + _RATE_UNIT * self.changes)

    def forward(self, values: Tensor) -> Params:
        """Fits a field to every set of values.

        Raises:
            ValueError: If there are not as many values as points and channels.
        """
        channels = self.spec.shapes[self.spec.vectors[-1]][0]
        if values.dim() != 3 or values.shape[1:] != (len(self.coords), channels):
            raise ValueError(
                f"values have the shape {tuple(values.shape)}. These fits need (n, "
                f"{len(self.coords)}, {channels}): values at their points."
            )
        rates = self.rates
        weights = self.start - rates[0] * self._first_gradient(values)
        for rate, points in zip(rates[1:], self.points, strict=True):
            coords, wanted = self.coords[points].mT, values[:, points].mT
            gradient = vmap(grad(self._error), (0, None, 0))(weights, coords, wanted)
            weights = weights - rate * gradient
        return as_params(self.spec, weights)

    def _first_gradient(self, values: Tensor) -> Tensor:
        """Gradients `(n, p)` of the mean square at the start."""

        def show(weights: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
            shown = self._show(weights, point.unsqueeze(-1)).squeeze(-1)
            return shown, shown

        slopes, shown = vmap(jacrev(show, has_aux=True), (None, 0))(self.start, self.coords)
        residuals = (shown - values) * (2 / shown.numel())  # (n, m, c)
        return residuals.flatten(1) @ slopes.flatten(0, 1)

    def _show(self, weights: Tensor, coords: Tensor) -> Tensor:
        """Values `(c, m)` of one field `(p,)` at points `(d, m)`."""
        return siren_values(as_params(self.spec, weights), coords, self.config.omega)

    def _error(self, weights: Tensor, coords: Tensor, values: Tensor) -> Tensor:
        """Mean squared error of one field, likewise."""
        return (self._show(weights, coords) - values).square().mean()

    def errors(self, params: Params, values: Tensor, points: Tensor | None = None) -> Tensor:
        """Mean squared errors `(n,)` of fields, differentiable.

        Args:
            params: Stacked fields, `(n, *shape)` by name.
            values: Values `(n, m, c)` that they should have.
            points: Numbers of the points that count; None is all.
        """
        coords = self.coords if points is None else self.coords[points]
        wanted = values if points is None else values[:, points]
        weights = as_rows(self.spec, params)
        return vmap(self._error, (0, None, 0))(weights, coords.mT, wanted.mT)

    @torch.no_grad()
    def fit(self, values: Tensor) -> Params:
        """Fits any number of fields, without a graph; arguments and result as for `forward`."""
        return join([self(part) for part in values.split(_AT_ONCE)])


def learn_fit(
    images: Tensor,
    field: FieldConfig,
    learning: LearningConfig = LearningConfig(),
    *,
    amplitude: float = 1.0,
    seed: int = 0,
    on_progress: Progress | None = None,
    cache: Path | None = None,
) -> LearnedFit:
    """Learns from images, without labels, a start and rates that fit SIRENs to such images.

    What is minimized is the mean square after the last step; its gradient passes through all steps.

    Args:
        images: `(n, c, height, width)`, in [0, 1].
        field: The SIREN and its fit, see `LearnedFit`.
        learning: How start and rates are learned.
        amplitude: The value of a white pixel; a black one has its negative.
        seed: Of the start, and of the order of images.
        on_progress: Called with the numbers of finished and of all steps.
        cache: Folder for what was learned, e.g. `cache_folder()`; None keeps none.

    Returns:
        The fit: `learned.fit(image_values(others))` are stacked SIRENs of other images.

    Raises:
        ValueError: If images have another shape, dtype or range, there are none, or fits diverge:
            then a smaller `field.lr` is needed.
    """
    values = image_values(images, amplitude)
    if not values.numel():
        raise ValueError(f"there is nothing to learn from: images are {tuple(images.shape)}.")
    learned = LearnedFit(image_grid(*images.shape[2:]), images.shape[1], field, seed)
    key = (values, field, learning, seed)
    make = partial(_learn, learned, values, learning, seed, on_progress)
    learned.load_state_dict(remember(cache, "learned-fits", key, make))
    return learned


def _learn(
    learned: LearnedFit,
    values: Tensor,
    learning: LearningConfig,
    seed: int,
    on_progress: Progress | None,
) -> dict[str, Tensor]:
    """Learns in place, and returns the state."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(learned.parameters(), lr=learning.lr)
    steps = learning.num_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for step in range(1, steps + 1):
        batch = values[torch.randint(len(values), (learning.batch_size,), generator=generator)]
        points = torch.randperm(batch.shape[1], generator=generator)[: learning.num_points]
        loss = learned.errors(learned(batch), batch, points).mean()
        if not loss.isfinite():
            raise ValueError(
                f"the error after a fit is {loss.item()} in step {step}: fits diverge. Use a "
                f"smaller lr than {learned.config.lr} in the FieldConfig, or fewer steps."
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_progress is not None:
            on_progress(step, steps)
    return learned.state_dict()
