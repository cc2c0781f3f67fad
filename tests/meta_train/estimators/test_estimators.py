"""Each estimator on a problem whose meta-gradient is known in closed form.

The inner problem is `loss(x) = a x^2 / 2` under gradient descent at the rate `exp(theta)`, so that
`x_k = (1 - a exp(theta))^k x_0`; the meta-loss and its derivative are sums of powers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from meta_train import (
    PES,
    FullES,
    InnerConfig,
    MetaLoss,
    MetaTrainer,
    NoiseReuseES,
    RuleConfig,
    RunConfig,
    TruncatedBPTT,
)
from meta_train.estimators import GradientEstimator
from meta_train.inner import InnerRun
from meta_train.tasks import Params, Task, TaskFamily, default_family
from nfn_optim import NetworkSpec, NFNRule, UpdateRule
from nfn_optim.rules import ElementwiseRule, RuleState

CURVATURE, START, THETA, FLOOR = 1.0, 1.0, math.log(0.1), 1e-5
TRUNCATION, PIECES = 4, 5
HORIZON = TRUNCATION * PIECES
META_LOSS = MetaLoss(FLOOR)


class RateRule(UpdateRule):
    """Gradient descent whose one trained meta-parameter is the logarithm of its rate."""

    def __init__(self) -> None:
        super().__init__()
        self.log_lr = nn.Parameter(torch.tensor(THETA, dtype=torch.float64))
        self.unused = nn.Parameter(torch.zeros(3, dtype=torch.float64), requires_grad=False)

    def init_slots(self, param: Tensor, batch_dims: int) -> dict[str, Tensor]:
        return {}

    def forward(self, params: Params, grads: Params, state: RuleState) -> tuple[Params, RuleState]:
        return {n: -self.log_lr.exp() * grads[n] for n in params}, state


class Parabola(Task):
    spec = NetworkSpec({"x": ("unit",)}, {"x": (1,)}, io=("unit",))

    def init(self, generator: torch.Generator) -> Params:
        return {"x": torch.full((1,), START, dtype=torch.float64)}

    def batch(self, generator: torch.Generator) -> Tensor:
        return torch.zeros(1, dtype=torch.float64)

    def loss(self, params: Params, batch: Tensor) -> Tensor:
        return 0.5 * CURVATURE * params["x"].square().sum()


@dataclass(frozen=True)
class Parabolas(TaskFamily):
    def sample(self, generator: torch.Generator) -> Task:
        return Parabola()


CONFIG = InnerConfig(min_horizon=HORIZON, max_horizon=HORIZON, max_networks=1)


def new_run(rule: UpdateRule, seed: int = 0) -> InnerRun:
    return InnerRun(Parabolas(), rule, CONFIG, seed)


def slope_of_log(losses: list[float], slopes: list[float]) -> float:
    """Derivative of the logarithm of a mean loss."""
    return sum(slopes) / len(slopes) / (sum(losses) / len(losses) + FLOOR)


def closed_form(first: int, last: int, *, at_mean: bool) -> float:
    """Derivative of the meta-loss of steps `first + 1` to `last`, from step 0 on.

    Args:
        first: Step before the piece.
        last: Last step of the piece.
        at_mean: Whether the held-out loss is that of the mean parameters, as in BPTT, or that of
            the last, as in evolution strategies.
    """
    rate, steps = math.exp(THETA), range(first + 1, last + 1)
    x = [(1 - CURVATURE * rate) ** k * START for k in steps]
    dx = [
        -k * CURVATURE * rate / (1 - CURVATURE * rate) * value
        for k, value in zip(steps, x, strict=True)
    ]
    held_out = (sum(x) / len(x), sum(dx) / len(dx)) if at_mean else (x[-1], dx[-1])

    def loss(x: float) -> float:
        return 0.5 * CURVATURE * x * x

    def slope(x: float, dx: float) -> float:
        return CURVATURE * x * dx

    training = slope_of_log(
        [loss(v) for v in x], [slope(*pair) for pair in zip(x, dx, strict=True)]
    )
    validation = slope_of_log([loss(held_out[0])], [slope(*held_out)])
    return training + validation


def piecewise(*, at_mean: bool) -> float:
    """The sum over the truncations of a run."""
    ends = [TRUNCATION * i for i in range(PIECES + 1)]
    return sum(closed_form(a, b, at_mean=at_mean) for a, b in pairwise(ends))


PIECEWISE = piecewise(at_mean=False)
WHOLE = closed_form(0, HORIZON, at_mean=False)


def episode(
    estimator: GradientEstimator, seed: int, between: Callable[[InnerRun], None] = lambda run: None
) -> float:
    """Sum of the estimates over one run."""
    rule = RateRule()
    run, total = new_run(rule, seed), 0.0
    while not run.over:
        estimate = estimator.estimate(rule, run, META_LOSS)
        assert set(estimate.grads) == {"log_lr"}
        total += float(estimate.grads["log_lr"])
        between(run)
    return total


def mean_and_error(values: list[float]) -> tuple[float, float]:
    sample = torch.tensor(values)
    return float(sample.mean()), float(sample.std()) / math.sqrt(len(values))


def forget(run: InnerRun) -> None:
    """Leaves the noise of earlier truncations without credit, as truncated ES does."""
    run.noise = None


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (FullES(0.01, 64), WHOLE),
        (PES(0.01, 64, truncation=TRUNCATION), PIECEWISE),
        (NoiseReuseES(0.01, 64, truncation=TRUNCATION), PIECEWISE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_evolution_strategies_are_unbiased(estimator, expected):
    mean, error = mean_and_error([episode(estimator, seed) for seed in range(40)])
    assert error < 0.1 * abs(expected)
    assert abs(mean - expected) < 3 * error


def test_truncated_es_without_the_correction_is_biased():
    estimator = PES(0.01, 64, truncation=TRUNCATION)
    mean, error = mean_and_error([episode(estimator, seed, forget) for seed in range(40)])
    assert abs(mean - PIECEWISE) > 10 * error


def test_bptt_is_exact_over_the_whole_run_and_too_timid_when_truncated():
    whole = episode(TruncatedBPTT(HORIZON, first_order=False), seed=0)
    assert whole == pytest.approx(closed_form(0, HORIZON, at_mean=True), rel=1e-9)
    pieces = episode(TruncatedBPTT(TRUNCATION, first_order=False), seed=0)
    assert (
        piecewise(at_mean=True) < 0.6 * pieces < 0
    )  # the true gradient asks for a larger rate, and more loudly


def test_all_particles_see_the_same_networks_and_batches():
    rule = NFNRule().double()
    run = InnerRun(Doubles(), rule, InnerConfig(max_networks=3), seed=1)
    estimator = PES(std=1e-30, pairs=2, truncation=3)  # so small that it changes nothing
    estimator.estimate(rule, run, META_LOSS)
    for tensor in run.params.values():
        torch.testing.assert_close(tensor, tensor[:1].expand_as(tensor), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule_type", [NFNRule, ElementwiseRule])
@pytest.mark.parametrize("estimator", [FullES(0.1, 2), PES(0.1, 2, truncation=5)])
def test_particles_equal_runs_of_their_own(rule_type, estimator):
    torch.manual_seed(0)
    rule = rule_type().double()
    config = InnerConfig(max_networks=3, min_horizon=5, max_horizon=5)
    run, twin = (InnerRun(Doubles(), rule, config, seed=2) for _ in range(2))
    noise = estimator._draw(dict(rule.named_parameters()), twin)
    estimator.estimate(rule, run, META_LOSS)
    for particle in range(4):
        sign, pair = 1 - 2 * (particle % 2), particle // 2
        single = rule_type().double()
        single.load_state_dict(
            {n: p + sign * 0.1 * noise[n][pair] for n, p in rule.state_dict().items()}
        )
        alone = InnerRun(Doubles(), single, config, seed=2)
        TruncatedBPTT(5).estimate(single, alone, META_LOSS)
        for name, param in alone.params.items():
            torch.testing.assert_close(run.params[name][particle], param, rtol=1e-9, atol=1e-9)


def test_particles_take_native_steps(monkeypatch):
    def never(*_):
        raise AssertionError("a particle's step was torch's")

    rule = NFNRule()
    run = InnerRun(default_family, rule, InnerConfig(max_networks=2), seed=2)
    monkeypatch.setattr(NFNRule, "forward", never)
    found = PES(0.1, 2, truncation=3).estimate(rule, run, META_LOSS)
    assert math.isfinite(found.loss)


def test_a_diverging_particle_is_bad_news_and_not_the_end():
    class Cliff(RateRule):
        """Non-finite above the rate that it starts with."""

        def forward(self, params, grads, state):
            bad = torch.where(self.log_lr > THETA, float("inf"), 0.0)
            return {n: -self.log_lr.exp() * grads[n] + bad for n in params}, state

    rule = Cliff()
    run = new_run(rule)
    grad = PES(0.1, 3, truncation=2).estimate(rule, run, META_LOSS).grads["log_lr"]
    assert grad.isfinite()
    assert grad > 0
    assert run.diverged


def test_a_run_keeps_its_number_of_particles():
    rule = RateRule()
    run = new_run(rule)
    PES(pairs=2, truncation=2).estimate(rule, run, META_LOSS)
    with pytest.raises(ValueError, match="this run has 4 particles, not 6"):
        PES(pairs=3, truncation=2).estimate(rule, run, META_LOSS)


def test_a_saved_run_with_particles_goes_on_as_if_nothing_had_happened():
    rule = RateRule()
    estimator = PES(pairs=2, truncation=TRUNCATION)
    run = new_run(rule)
    estimator.estimate(rule, run, META_LOSS)
    twin = new_run(rule)
    twin.load_state_dict(run.state_dict())
    for _ in range(2):
        first, second = (estimator.estimate(rule, r, META_LOSS) for r in (run, twin))
        assert first.loss == second.loss
        assert torch.equal(first.grads["log_lr"], second.grads["log_lr"])


def test_bptt_equals_finite_differences_of_its_own_loss():
    torch.manual_seed(1)
    rule = NFNRule().double()
    for weight in rule.write.parameters():
        nn.init.normal_(weight, std=0.2)
    rule.schedule.bias.data[0] = -4.0
    config = InnerConfig(min_horizon=HORIZON, max_horizon=HORIZON, entries=4_000, max_networks=2)
    estimator = TruncatedBPTT(4, first_order=False)
    theta = dict(rule.named_parameters())

    def fresh() -> InnerRun:
        return InnerRun(Doubles(), rule, config, seed=5)

    grads = estimator.estimate(rule, fresh(), META_LOSS).grads
    generator = torch.Generator().manual_seed(7)
    direction = {n: torch.randn(p.shape, generator=generator).double() for n, p in theta.items()}
    slope = float(sum((grads[n] * d).sum() for n, d in direction.items()))
    values = []
    for sign in (1, -2):
        for name, param in theta.items():
            param.data += sign * 1e-6 * direction[name]
        values.append(estimator.estimate(rule, fresh(), META_LOSS).loss)
    assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


class Shifted(Parabola):
    """Held-out samples have their least loss elsewhere."""

    def validation_batch(self, generator: torch.Generator) -> Tensor:
        return torch.full((1,), -1.0, dtype=torch.float64)

    def loss(self, params: Params, batch: Tensor) -> Tensor:
        return 0.5 * CURVATURE * (params["x"] - batch).square().sum()


class ShiftedParabolas(TaskFamily):
    def sample(self, generator: torch.Generator) -> Task:
        return Shifted()


@pytest.mark.parametrize("kind", [TruncatedBPTT, PES])
def test_held_out_share_weighs_held_out_against_training_loss(kind):
    def loss(share: float) -> float:
        rule = RateRule()
        run = InnerRun(ShiftedParabolas(), rule, CONFIG, 0)
        return kind(truncation=4).estimate(rule, run, MetaLoss(held_out=share)).loss

    x = [(1 - CURVATURE * math.exp(THETA)) ** k for k in range(1, 5)]
    judged = sum(x) / 4 if kind is TruncatedBPTT else x[-1]
    difference = math.log((judged + 1) ** 2) - math.log(judged**2)
    assert loss(1.0) - loss(0.0) == pytest.approx(difference, abs=0.01)
    assert loss(0.25) == pytest.approx(0.75 * loss(0.0) + 0.25 * loss(1.0), rel=1e-6)


@dataclass(frozen=True)
class Doubles(TaskFamily):
    """Tiny regressions in float64."""

    def sample(self, generator: torch.Generator) -> Task:
        return DoubleTask(generator)


class DoubleTask(Task):
    spec = NetworkSpec(
        {"w": ("h", "in"), "v": ("out", "h")}, {"w": (5, 3), "v": (2, 5)}, io=("in", "out")
    )

    def __init__(self, generator: torch.Generator) -> None:
        self.map = torch.randn(2, 3, generator=generator, dtype=torch.float64)

    def init(self, generator: torch.Generator) -> Params:
        return {
            n: torch.randn(shape, generator=generator, dtype=torch.float64) / 2
            for n, shape in self.spec.stored.items()
        }

    def batch(self, generator: torch.Generator) -> Tensor:
        return torch.randn(6, 3, generator=generator, dtype=torch.float64)

    def loss(self, params: Params, batch: Tensor) -> Tensor:
        return ((batch @ params["w"].T).tanh() @ params["v"].T - batch @ self.map.T).square().mean()


def test_trainer_takes_any_estimator():
    config = RunConfig(
        outer_steps=3,
        inner=InnerConfig(runs=1, entries=2_000, min_horizon=4, max_horizon=6),
        rule=RuleConfig(hidden=4),
    )
    for estimator in (FullES(pairs=1), PES(pairs=1, truncation=3)):
        trainer = MetaTrainer(default_family, config, estimator)
        assert all(math.isfinite(loss) for loss in trainer.train())
        assert trainer.step == 3
        assert trainer.card("")["estimator"] == repr(estimator)
