"""Fitting functions: shallow regressions, an image, a differential equation, moving targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import pi, sqrt

import torch
from torch import Tensor, nn

from ...tasks import mlp
from ._data import photograph
from ._problem import Batch, Problem, Split, draw, regression, squared_error

_SIDE = 64  # pixels of the image that is fitted
_INNER = 128  # points of the differential equation in a batch
_DRIFT = 0.002  # of a turn a step


def sum_of_sines(generator: torch.Generator) -> Problem:
    """A sum of sines of eight numbers, 8-32-1 with tanh."""
    fixed = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(4_096, 8, generator=fixed) - 1
    phases = 2 * pi * torch.rand(8, generator=fixed)
    y = (pi * x + phases).sin().sum(1, keepdim=True) / 2
    data = Split((x[:3_072], y[:3_072]), (x[3_072:], y[3_072:]))
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    return regression(model, data, generator)


class _Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (30 * x).sin()


def siren(generator: torch.Generator) -> Problem:
    """A photograph at 64x64 as a function of the place, 2-64-64-3 with sines."""
    colors = nn.functional.adaptive_avg_pool2d(photograph("china.jpg"), _SIDE).flatten(1).T
    side = torch.linspace(-1, 1, _SIDE)
    places = torch.cartesian_prod(side, side)
    first, second = nn.Linear(2, 64), nn.Linear(64, 64)
    for layer, bound in ((first, 1 / 2), (second, sqrt(6 / 64) / 30)):
        nn.init.uniform_(layer.weight, -bound, bound)
    model = nn.Sequential(first, _Sine(), second, _Sine(), nn.Linear(64, 3))
    data = Split((places, colors - 0.5), (places, colors - 0.5))
    return regression(model, data, generator, batch=256)


def poisson(generator: torch.Generator) -> Problem:
    """Poisson's equation on the unit square by a tanh MLP; the exact solution is known.

    The Laplacian of u must be -2 pi^2 sin(pi x) sin(pi y) inside, and u zero on the border.
    """
    model = nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
    model.append(nn.Linear(48, 1))
    return Problem(model, _points(generator), _poisson_loss, _distance_to_solution)


def _points(generator: torch.Generator) -> Iterator[Batch]:
    """Points inside `(128, 2)` and on the border `(64, 2)`."""
    while True:
        inner, border = (torch.rand(n, 2, generator=generator) for n in (_INNER, _INNER // 2))
        side = torch.randint(2, (len(border), 2), generator=generator)
        border[torch.arange(len(border)), side[:, 0]] = side[:, 1].float()
        yield inner, border


def _poisson_loss(model: nn.Module, batch: Batch) -> Tensor:
    inner, border = batch
    inner = inner.requires_grad_()
    (first,) = torch.autograd.grad(model(inner).sum(), inner, create_graph=True)
    laplacian: Tensor | float = 0.0
    for axis in range(2):
        (second,) = torch.autograd.grad(first[:, axis].sum(), inner, create_graph=True)
        laplacian = laplacian + second[:, axis]
    residual = laplacian + 2 * pi**2 * _solution(inner)
    return residual.square().mean() + 100 * model(border).square().mean()


def _solution(points: Tensor) -> Tensor:
    return (pi * points).sin().prod(1)


def _distance_to_solution(model: nn.Module) -> Mapping[str, float]:
    points = torch.rand(1_000, 2, generator=torch.Generator().manual_seed(0))
    return {"test_loss": (model(points)[:, 0] - _solution(points)).square().mean().item()}


def moving_targets(generator: torch.Generator) -> Problem:
    """A teacher whose weights turn slowly: the target of the same input changes with the step."""
    model = mlp((10, 64, 64, 1))
    return Problem(model, _drifting(generator), squared_error)


def _drifting(generator: torch.Generator) -> Iterator[Batch]:
    fixed = torch.Generator().manual_seed(0)
    first, second = (torch.randn(10, 16, generator=fixed) for _ in range(2))
    inputs = draw((torch.randn(8_192, 10, generator=fixed),), 64, generator)
    for step, (x,) in enumerate(inputs):
        angle = torch.tensor(2 * pi * _DRIFT * step)
        turned = angle.cos() * first + angle.sin() * second
        yield x, (x @ turned / 3).tanh().sum(1, keepdim=True) / 4
