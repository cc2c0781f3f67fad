"""Fits from a learned start: what their steps are, that gradients pass, that learning helps."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from meta_train.tasks import load_data
from meta_train.zoo import (
    FieldConfig,
    LearnedFit,
    LearningConfig,
    evaluate_fields,
    image_grid,
    image_values,
    learn_fit,
)

FIELD = FieldConfig(hidden=(6, 5), omega=4.0, num_steps=3, lr=0.1, num_points=9)
LEARNING = LearningConfig(num_steps=40, batch_size=16, num_points=64)


def learned(channels: int = 1, config: FieldConfig = FIELD) -> LearnedFit:
    return LearnedFit(image_grid(4, 5), channels, config).double()


def by_hand(fits: LearnedFit, values: Tensor) -> dict[str, Tensor]:
    """One field, `(m, c)`, by gradient descent as torch does it."""
    params = {name: p[0] for name, p in fits(values[None]).items()}  # for names and shapes
    sizes = [params[name].numel() for name in fits.spec.names]
    flat = fits.start.detach().clone()
    everything = torch.arange(len(fits.coords))
    for rates, points in zip(fits.rates.detach(), (everything, *fits.points), strict=True):
        flat.requires_grad_()
        parts = zip(fits.spec.names, flat.split(sizes), strict=True)
        params = {name: part.view_as(params[name]) for name, part in parts}
        one = {name: p[None] for name, p in params.items()}
        shown = evaluate_fields(one, fits.coords[points], fits.config.omega)[0]
        (gradient,) = torch.autograd.grad((shown - values[points]).square().mean(), flat)
        flat = (flat - rates * gradient).detach()
    parts = zip(fits.spec.names, flat.split(sizes), strict=True)
    return {name: part.view_as(params[name]) for name, part in parts}


@pytest.mark.parametrize("channels", [1, 3])
def test_steps_are_gradient_descent_with_a_rate_for_each_parameter(
    channels: int, generator: torch.Generator
) -> None:
    fits = learned(channels)
    with torch.no_grad():
        fits.changes.normal_(0, 0.05, generator=generator)
    values = torch.rand(2, 20, channels, generator=generator).double()
    params = fits.fit(values)
    for index in range(2):
        for name, expected in by_hand(fits, values[index]).items():
            torch.testing.assert_close(params[name][index], expected)


def test_gradients_of_start_and_rates_are_right(generator: torch.Generator) -> None:
    fits = learned(config=FieldConfig(hidden=(2,), omega=2.0, num_steps=2, lr=0.1, num_points=6))
    values = torch.rand(2, 20, 1, generator=generator).double()

    def error(start: Tensor, changes: Tensor) -> Tensor:
        parameters = {"start": start, "changes": changes}
        params = torch.func.functional_call(fits, parameters, (values,))
        return fits.errors(params, values)

    start, changes = (p.detach().clone().requires_grad_() for p in fits.parameters())
    assert torch.autograd.gradcheck(error, (start, changes))


def test_errors_are_mean_squares_at_the_points_asked_for(generator: torch.Generator) -> None:
    fits = learned(3)
    values = torch.rand(2, 20, 3, generator=generator).double()
    params, points = fits.fit(values), torch.tensor([3, 7])
    wrong = (evaluate_fields(params, fits.coords, 4.0) - values).square()
    torch.testing.assert_close(fits.errors(params, values), wrong.mean((1, 2)))
    torch.testing.assert_close(fits.errors(params, values, points), wrong[:, points].mean((1, 2)))


def test_many_fields_are_those_fitted_alone(generator: torch.Generator) -> None:
    fits = learned()
    values = torch.rand(301, 20, 1, generator=generator).double()
    together, alone = fits.fit(values), fits.fit(values[300:])
    for name, tensor in together.items():
        torch.testing.assert_close(tensor[300:], alone[name])


def test_learning_fits_images_better_that_it_has_not_seen(tmp_path: Path) -> None:
    images = load_data("digits").x_train[:300]
    values = image_values(images[200:])
    field = FieldConfig(hidden=(12, 12), omega=6.0, num_steps=2, lr=0.1)

    def error(num_steps: int) -> float:
        learning = LearningConfig(num_steps=num_steps, batch_size=16, lr=5e-3)
        fits = learn_fit(images[:200], field, learning, cache=tmp_path)
        return fits.errors(fits.fit(values), values).mean().item()

    assert error(60) < 0.7 * error(1)


def test_what_was_learned_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, told = load_data("digits").x_train[:50], list[tuple[int, int]]()
    first = learn_fit(
        images, FIELD, LEARNING, cache=tmp_path, on_progress=lambda *done: told.append(done)
    )
    assert told[-1] == (40, 40)
    monkeypatch.setattr(torch.optim, "Adam", lambda *_, **__: pytest.fail("learned again"))
    again = learn_fit(images, FIELD, LEARNING, cache=tmp_path)
    for name, tensor in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    other = LearnedFit(image_grid(8, 8), 1, FIELD)
    other.load_state_dict(first.state_dict())  # torch's own way to keep it
    assert torch.equal(other.start, first.start)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 8, 8), r"shape \(3, 8, 8\)"),
        (torch.rand(3, 1, 8, 8) * 255, "outside of"),
        (torch.rand(0, 1, 8, 8), "nothing to learn from"),
    ],
)
def test_images_that_cannot_be_learned_from_are_refused(images: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learn_fit(images, FIELD)


def test_mistakes_say_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"need \(n, 20, 1\)"):
        learned()(torch.rand(2, 16, 1).double())
    with pytest.raises(ValueError, match="num_points must be at least 1"):
        LearningConfig(num_points=0)
    with pytest.raises(ValueError, match="lr must be positive"):
        LearningConfig(lr=float("inf"))
    wild = FieldConfig(hidden=(6, 5), num_steps=3, lr=1e30)
    with pytest.raises(ValueError, match="Use a smaller lr"):
        learn_fit(torch.rand(20, 1, 8, 8), wild, LEARNING)
