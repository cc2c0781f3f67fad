from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from meta_train.population._rows import as_params, as_rows
from meta_train.population._sine import mean_square
from meta_train.tasks import load_data
from meta_train.zoo import (
    FieldConfig,
    dws_start,
    evaluate_fields,
    fit_fields,
    fit_sirens,
    image_grid,
    siren,
)
from nfn_optim import NetworkSpec

SHORT = FieldConfig(hidden=(16, 16), num_steps=20)


def digits(n: int) -> Tensor:
    return load_data("digits").x_train[:n]


def test_fitted_sirens_show_their_images() -> None:
    images = digits(8)
    config = FieldConfig(num_steps=300)
    _, params = fit_sirens(images, config)
    shown = evaluate_fields(params, image_grid(8, 8)).mT.reshape(images.shape)
    assert ((shown + 1) / 2 - images).square().mean() < 1e-4


def test_a_white_pixel_has_the_amplitude() -> None:
    images = digits(8)
    _, params = fit_sirens(images, FieldConfig(num_steps=300), amplitude=0.5)
    shown = evaluate_fields(params, image_grid(8, 8)).mT.reshape(images.shape)
    assert (shown + 0.5 - images).square().mean() < 1e-4


def test_the_dws_start_keeps_hidden_biases_and_low_frequencies(generator: torch.Generator) -> None:
    spec = NetworkSpec.from_module(siren(2, 1))
    params = dws_start(spec, 50, 30.0, generator)
    bounds = [params[name].abs().max().item() for name in (*spec.weights, *spec.vectors)]
    expected = [3**0.5 / 30, (6 / 32) ** 0.5 / 30, 32**-0.5, 0.0, 0.0, 32**-0.5]
    assert bounds == pytest.approx(expected, rel=0.05)
    config = FieldConfig(num_steps=1, lr=1e-9, start=dws_start)
    _, fitted = fit_sirens(digits(2), config)
    assert fitted[spec.vectors[0]].abs().max() < 1e-6


def test_the_module_computes_what_was_fitted() -> None:
    coords, module = image_grid(5, 4), siren(2, 3, SHORT)
    _, params = fit_fields(coords, torch.rand(2, 20, 3), SHORT)
    values = evaluate_fields(params, coords)
    for index in range(2):
        one = {name: tensor[index] for name, tensor in params.items()}
        torch.testing.assert_close(functional_call(module, one, (coords,)), values[index])


def test_a_field_does_not_depend_on_the_order_of_its_parameters() -> None:
    _, params = fit_sirens(digits(2), SHORT)
    other = dict(sorted(params.items()))
    assert list(other) != list(params)
    grid = image_grid(8, 8)
    torch.testing.assert_close(evaluate_fields(other, grid), evaluate_fields(params, grid))


def test_points_may_differ_from_field_to_field(generator: torch.Generator) -> None:
    coords = torch.rand(2, 40, 3, generator=generator)
    values = coords.norm(dim=-1, keepdim=True)
    config = FieldConfig(hidden=(16, 16), omega=20.0, num_steps=300)
    _, params = fit_fields(coords, values, config)
    fitted = evaluate_fields(params, coords, omega=20.0)
    assert (fitted - values).abs().mean() < 0.05


def test_fields_start_apart_and_repeat_with_their_seed() -> None:
    image = digits(1).expand(2, -1, -1, -1)
    (_, one), (_, again), (_, other) = (fit_sirens(image, SHORT, seed=s) for s in (1, 1, 2))
    assert not torch.equal(one["0.weight"][0], one["0.weight"][1])
    assert torch.equal(one["2.weight"], again["2.weight"])
    assert not torch.equal(one["2.weight"], other["2.weight"])


def test_whole_chunks_of_many_fields_equal_those_fitted_alone() -> None:
    images = digits(230)
    config = FieldConfig(hidden=(8,), num_steps=3)
    seen: list[tuple[int, int]] = []
    _, many = fit_sirens(images, config, on_progress=lambda *done: seen.append(done))
    _, first = fit_sirens(images[:200], config)
    assert seen == [(200, 230), (230, 230)]
    assert torch.equal(many["0.weight"][:200], first["0.weight"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 8, 8), r"shape \(2, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "torch.uint8"),
        (torch.full((2, 1, 8, 8), 255.0), "outside of"),
        (torch.full((2, 1, 8, 8), float("nan")), "not finite"),
        (torch.zeros(0, 1, 8, 8), "nothing to fit"),
    ],
)
def test_wrong_images_are_refused(images: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_sirens(images, SHORT)


def test_wrong_points_are_refused() -> None:
    with pytest.raises(ValueError, match=r"coords \(5, 2\) do not fit values \(3, 4, 1\)"):
        fit_fields(torch.zeros(5, 2), torch.zeros(3, 4, 1), SHORT)
    with pytest.raises(ValueError, match="not finite"):
        fit_fields(torch.full((4, 2), torch.inf), torch.zeros(3, 4, 1), SHORT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1; got 0"),
        ({"num_points": 0}, "num_points must be at least 1; got 0"),
        ({"hidden": (8, 0)}, r"hidden must be at least 1; got \(8, 0\)"),
        ({"hidden": ()}, r"hidden must be at least 1; got \(\)"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": float("inf")}, "lr=inf"),
        ({"omega": 0.0}, "omega=0.0"),
        ({"omega": float("inf")}, "omega=inf"),
    ],
)
def test_wrong_configurations_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FieldConfig(**wrong)


@pytest.mark.parametrize("hidden", [(8,), (8, 6), (8, 6, 5)])
def test_the_gradient_written_out_is_that_of_autograd(
    hidden: tuple[int, ...], generator: torch.Generator
) -> None:
    config = FieldConfig(hidden=hidden, num_steps=1)
    coords = torch.rand(3, 7, 2, generator=generator).double()
    values = torch.rand(3, 7, 4, generator=generator).double()
    spec, params = fit_fields(coords, values, config)
    rows = as_rows(spec, params).double().requires_grad_()
    errors = (evaluate_fields(as_params(spec, rows), coords) - values).square().mean((1, 2))
    (gradients,) = torch.autograd.grad(errors.sum(), rows)
    found = mean_square(rows.detach(), coords.mT, values.mT, spec=spec, omega=30.0)
    torch.testing.assert_close(found, (errors.detach(), gradients))
