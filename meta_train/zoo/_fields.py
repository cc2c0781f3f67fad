"""Neural fields: thousands of SIRENs, each fitted to one signal (Sitzmann et al., 2020).

Shape legend: `n` fields from `d` coordinates to `c` values, known at `m` points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import cos, inf, pi
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import vmap

from nfn_optim import AdamRule, NetworkSpec

from ..population import Population, Regression, Sine, chunk_seed, chunks, join, siren_values
from ..support import Progress, remember, require_counts
from ..tasks import Params
from ._field_starts import FieldStart, siren_start

_POINTS_AT_ONCE = 12_800  # of all fields of a chunk: few calls a field, activations in the cache
_BETAS = (0.9, 0.99)  # a field is fitted in hundreds of steps, not thousands


@dataclass(frozen=True)
class FieldConfig:
    """A SIREN and how it is fitted: Adam on a few points a step, the rate falling as a cosine.

    The paper's fields take 5,000 steps on all pixels at a rate of 5e-5 (appendix D.3). On MNIST the
    defaults reach the same fidelity a hundred times faster; see docs/zoo.md.

    Attributes:
        hidden: Widths of the hidden layers.
        omega: Frequency factor in every sine.
        num_steps: Number of Adam steps.
        lr: Adam's rate at the start.
        num_points: Points a step; all of them come up equally often.
        start: Draws the parameters before the first step.

    Raises:
        ValueError: If a number is not positive and finite, or there is no hidden layer.
    """

    hidden: tuple[int, ...] = (32, 32)
    omega: float = 30.0
    num_steps: int = 600
    lr: float = 4e-3
    num_points: int = 64
    start: FieldStart = siren_start

    def __post_init__(self) -> None:
        require_counts(self, "hidden", "num_steps", "num_points")
        if not (0 < self.lr < inf and 0 < self.omega < inf):
            raise ValueError(f"lr and omega must be positive and finite; got {self}.")


def siren(coordinates: int, channels: int, config: FieldConfig = FieldConfig()) -> nn.Sequential:
    """One field as a module, `(m, coordinates) -> (m, channels)`, that loads fitted parameters."""
    widths = (coordinates, *config.hidden)
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths, config.hidden, strict=False):
        layers += [nn.Linear(n_in, n_out), Sine(config.omega)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], channels))


def image_grid(height: int, width: int) -> Tensor:
    """Coordinates of an image's pixels, row by row, both from -1 to 1: `(height * width, 2)`."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)


def image_values(images: Tensor, amplitude: float = 1.0) -> Tensor:
    """What fields of images show, row by row: pixels rescaled from [0, 1] to [-1, 1], and scaled.

    Args:
        images: `(n, c, height, width)`, in [0, 1].
        amplitude: The value of a white pixel; a black one has its negative.

    Returns:
        Values at the points of `image_grid`, `(n, height * width, c)`.

    Raises:
        ValueError: If images have another shape, dtype or range.
    """
    if images.dim() != 4 or not images.is_floating_point():
        raise ValueError(
            f"images have the shape {tuple(images.shape)} and dtype {images.dtype}. Pass floating "
            "point images (n, c, height, width) in [0, 1]."
        )
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError("images have pixels outside of [0, 1] or not finite. Rescale them.")
    return amplitude * (images.flatten(2).mT * 2 - 1)


def evaluate_fields(params: Params, coords: Tensor, omega: float = 30.0) -> Tensor:
    """Values of fields at points; differentiable.

    Args:
        params: Stacked SIRENs, `(n, *shape)` by name.
        coords: Points, `(m, d)` for all fields or `(n, m, d)`.
        omega: Frequency factor.

    Returns:
        Values `(n, m, c)`.
    """
    shared = None if coords.dim() == 2 else 0
    return vmap(partial(siren_values, omega=omega), in_dims=(0, shared))(params, coords.mT).mT


def fit_sirens(
    images: Tensor,
    config: FieldConfig = FieldConfig(),
    *,
    amplitude: float = 1.0,
    seed: int = 0,
    on_progress: Progress | None = None,
    cache: Path | None = None,
) -> tuple[NetworkSpec, Params]:
    """Fits a SIREN to every image, each from a random start of its own.

    Coordinates are `image_grid`'s; values are pixels rescaled from [0, 1] to [-1, 1], as in the
    paper (appendix D.3), times the amplitude.

    Args:
        images: `(n, c, height, width)`, in [0, 1].
        config: The SIREN, and how it is fitted.
        amplitude: The value of a white pixel; a black one has its negative.
        seed: Of starts and order of points.
        on_progress: Called with the numbers of finished and of all fields.
        cache: Folder for finished chunks, e.g. `cache_folder()`; None keeps none.

    Returns:
        The spec, and stacked parameters `(n, *shape)` by name.

    Raises:
        ValueError: If images have another shape, dtype or range.
    """
    values, grid = image_values(images, amplitude), image_grid(*images.shape[2:])
    return fit_fields(grid, values, config, seed=seed, on_progress=on_progress, cache=cache)


def fit_fields(
    coords: Tensor,
    values: Tensor,
    config: FieldConfig = FieldConfig(),
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
    cache: Path | None = None,
) -> tuple[NetworkSpec, Params]:
    """Fits a SIREN to every set of values, in the mean square, each from a random start of its own.

    Fields are fitted in chunks, 200 of them with 64 points a step, whose starts are drawn together.
    Whole chunks do not depend on how many follow: the first 400 of many equal those fitted alone,
    but the first 10 do not.

    Args:
        coords: Points, `(m, d)` for all fields or `(n, m, d)`; best in [-1, 1].
        values: Values there, `(n, m, c)`.
        config: The SIREN, and how it is fitted.
        seed: Of starts and order of points.
        on_progress: Called with the numbers of finished and of all fields.
        cache: Folder for finished chunks, e.g. `cache_folder()`; None keeps none.

    Returns:
        The spec, and stacked parameters `(n, *shape)` by name.

    Raises:
        ValueError: If shapes disagree, there is nothing to fit, or a number is not finite.
    """
    _check(coords, values)
    module = siren(coords.shape[-1], values.shape[-1], config)
    spec = NetworkSpec.from_module(module)
    parts = []
    size = max(1, _POINTS_AT_ONCE // min(config.num_points, values.shape[1]))
    for chunk in chunks(len(values), size):
        points = coords if coords.dim() == 2 else coords[chunk]
        data = (points, values[chunk], config)
        make = partial(_fit_chunk, module, spec, *data, chunk_seed(seed, chunk))
        parts.append(remember(cache, "fields", (*data, seed, chunk.start), make))
        if on_progress is not None:
            on_progress(chunk.stop, len(values))
    return spec, join(parts)


def _check(coords: Tensor, values: Tensor) -> None:
    fitting = (values.shape[1:2], (*values.shape[:2],))
    if values.dim() != 3 or coords.dim() not in (2, 3) or coords.shape[:-1] not in fitting:
        raise ValueError(
            f"coords {tuple(coords.shape)} do not fit values {tuple(values.shape)}. Pass values "
            "(n, m, c) and coords (m, d) or (n, m, d)."
        )
    if values.numel() == 0:
        raise ValueError(f"there is nothing to fit: values have the shape {tuple(values.shape)}.")
    if not (coords.isfinite().all() and values.isfinite().all()):
        raise ValueError("coords or values are not finite. Remove those points.")


def _fit_chunk(
    module: nn.Sequential,
    spec: NetworkSpec,
    coords: Tensor,
    values: Tensor,
    config: FieldConfig,
    generator: torch.Generator,
) -> Params:
    n, num_points, _ = values.shape
    inputs, targets = coords.float(), values.float()
    problem = Regression(module=module, spec=spec, inputs=inputs, targets=targets)
    rule = AdamRule(config.lr, betas=_BETAS)
    population = Population.start(spec, rule, config.start(spec, n, config.omega, generator))
    batches = ((points.expand(n, -1),) for points in _draw_points(num_points, config, generator))
    return population.take_steps(
        problem, batches, lambda k: (1 + cos(pi * k / config.num_steps)) / 2
    ).params


def _draw_points(
    num_points: int, config: FieldConfig, generator: torch.Generator
) -> Iterator[Tensor]:
    """Points of each step, which all fields share, epoch by epoch."""
    size = min(config.num_points, num_points)
    step = 0
    while True:
        order = torch.randperm(num_points, generator=generator)
        for points in order.split(size)[: num_points // size]:
            if step == config.num_steps:
                return
            yield points
            step += 1
