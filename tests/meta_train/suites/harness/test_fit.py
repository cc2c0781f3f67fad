"""The fitting loop: deterministic, stops by validation, gives back the best network."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from meta_train.suites.harness._examples import Examples, Standardize
from meta_train.suites.harness._fit import FitConfig, Objective, fit, predict, seeded
from meta_train.support import fingerprint
from nfn_optim.networks import HeadConfig, StatNN
from nfn_optim.testing import chain_spec, random_features

SPEC = chain_spec((2, 3, 1))
CPU = torch.device("cpu")


def mse(predictions: Tensor, targets: Tensor) -> float:
    return float(F.mse_loss(predictions, targets))


OBJECTIVE = Objective(F.mse_loss, mse, lower_is_better=True)


def examples(n: int, seed: int) -> Examples:
    """Networks, and the mean of their first weight."""
    generator = torch.Generator().manual_seed(seed)
    features = random_features(SPEC, 1, generator, batch=(n,), dtype=torch.float32)
    return Examples(features, features["0.weight"].mean((1, 2)))


def trained(config: FitConfig, seed: int = 0, objective: Objective = OBJECTIVE) -> list[float]:
    """The validation score and the test predictions of a network with dropout."""
    with seeded(seed, CPU):
        model = StatNN(SPEC, HeadConfig((16,), dropout=0.1))
        score, _ = fit(
            model, examples(64, 0), examples(16, 1), objective, config, seed, lambda *_: None
        )
    return [score, *predict(model, examples(16, 2)).flatten().tolist()]


def test_training_is_deterministic_by_seed() -> None:
    config = FitConfig(num_steps=20, batch_size=8, eval_every=5)
    assert trained(config) == trained(config)
    assert trained(config) != trained(config, seed=1)


def test_training_leaves_the_callers_randomness_alone() -> None:
    before = torch.get_rng_state()
    trained(FitConfig(num_steps=2, eval_every=1))
    assert torch.equal(before, torch.get_rng_state())


def test_training_learns_and_more_steps_learn_more() -> None:
    short, long = (
        trained(FitConfig(num_steps=n, batch_size=16, lr=1e-2, eval_every=10))[0] for n in (10, 300)
    )
    assert long < 0.1 * float(examples(16, 1).targets.var())
    assert long < short


@pytest.mark.parametrize(
    ("validations", "best", "at"),
    [
        ([3.0, 1.0, 2.0, 2.0], 1.0, 1),
        ([math.nan, 3.0, math.nan, 4.0], 3.0, 1),
        ([math.nan] * 4, math.nan, 3),
    ],
    ids=["the best", "the best of those with a score", "the last of none"],
)
def test_the_best_network_comes_back(validations: list[float], best: float, at: int) -> None:
    scores = iter(validations)
    weights: list[Tensor] = []
    model = nn.Sequential(StatNN(SPEC, HeadConfig((4,))))

    def scripted(predictions: Tensor, targets: Tensor) -> float:
        weights.append(next(model.parameters()).detach().clone())
        return next(scores)

    config = FitConfig(num_steps=4, batch_size=8, eval_every=1)
    objective = Objective(F.mse_loss, scripted, lower_is_better=True)
    progress: list[tuple[int, int]] = []
    parts = (examples(16, 0), examples(4, 1))
    reached, _ = fit(model, *parts, objective, config, 0, lambda *step: progress.append(step))
    assert reached == pytest.approx(best, nan_ok=True)
    assert torch.equal(next(model.parameters()), weights[at])
    assert not torch.equal(weights[at], weights[at - 1])
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_steps", 0),
        ("batch_size", 0),
        ("eval_every", -1),
        ("lr", math.nan),
        ("lr", 0.0),
        ("weight_decay", -0.1),
        ("warmup", -1),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{field}.*{value}"):
        FitConfig(**{"num_steps": 1, field: value})  # type: ignore[arg-type]


def test_rates_warm_up_and_fall_as_a_cosine() -> None:
    config = FitConfig(num_steps=101, warmup=4, final_lr=0.1)
    rates = [config.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[4] > rates[5]
    assert rates[-1] == pytest.approx(0.1)
    assert FitConfig(num_steps=101).rate(70) == 1.0


@pytest.mark.parametrize("lower", [True, False])
def test_anything_beats_nan_and_nan_beats_nothing_else(lower: bool) -> None:
    objective = Objective(F.mse_loss, mse, lower_is_better=lower)
    assert objective.is_better(0.5, math.nan)
    assert not objective.is_better(math.nan, 0.5)
    assert objective.is_better(math.nan, math.nan)
    assert objective.is_better(0.4, 0.5) is lower


def test_small_data_makes_one_batch() -> None:
    config = FitConfig(num_steps=3, batch_size=1000, eval_every=1)
    assert math.isfinite(trained(config)[0])


def test_standardized_features_have_mean_zero_and_variance_one() -> None:
    features = examples(50, 0).features.map(lambda t: 3 * t + 2)
    constant = {**features, "0.bias": torch.full_like(features["0.bias"], 7.0)}
    features = features.like([constant[name] for name in SPEC.names])
    for name, tensor in Standardize(features)(features).items():
        assert tensor.mean().abs() < 1e-5
        assert float(tensor.var(correction=0)) == pytest.approx(float(name != "0.bias"), abs=1e-4)


def test_a_fingerprint_sees_every_number() -> None:
    whole = examples(4, 0)
    changed = Examples(whole.features, whole.targets + 1e-6)
    assert fingerprint(whole) == fingerprint(examples(4, 0)) != fingerprint(changed)
