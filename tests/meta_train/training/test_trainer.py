"""What an outer step does, and what meta-training reaches."""

import inspect
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import (
    PES,
    FullES,
    InnerConfig,
    MetaLoss,
    MetaTrainer,
    OuterConfig,
    RuleConfig,
    RunConfig,
    TruncatedBPTT,
    unroll,
)
from meta_train.inner import InnerRun
from meta_train.tasks import ModuleTask, Task, TaskFamily, stack
from meta_train.training._files import load_resume, save_resume
from meta_train.training._preflight import check_family
from meta_train.training._run import run_meta_training
from nfn_optim import NFNRule, load_rule, save_rule
from nfn_optim.rules import Limits, NFNRuleConfig


class Regressions(TaskFamily):
    """Small regressions whose best step size is far above the untrained rule's."""

    def sample(self, generator: torch.Generator) -> Task:
        inputs = torch.randn(64, 4, generator=generator)
        targets = (inputs @ torch.randn(4, 2, generator=generator)).tanh()
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
            F.mse_loss,
            (inputs, targets),
            batch_size=16,
        )


family = Regressions()
INNER = InnerConfig(runs=3, min_horizon=10, max_horizon=40, max_networks=2)
OUTER = OuterConfig(lr=3e-3, warmup=5, ema=0.5)
CONFIG = RunConfig(
    outer_steps=40,
    save_every=10,
    inner=INNER,
    estimator=TruncatedBPTT(truncation=5),
    rule=RuleConfig(hidden=4),
    outer=OUTER,
)


def mean_loss(rule: NFNRule) -> float:
    """Loss over 30 steps of five new tasks."""
    losses = []
    for seed in range(1000, 1005):
        generator = torch.Generator().manual_seed(seed)
        task = family.sample(generator)
        params = stack([task.init(generator)])
        batches = [stack([task.batch(generator)]) for _ in range(30)]
        with torch.no_grad():
            out = unroll(rule, task.loss, params, batches, rule.init(params, task.spec))
        losses.append(out.losses.mean())
    return float(torch.stack(losses).mean())


def test_meta_training_lowers_the_loss_on_new_tasks():
    trainer = MetaTrainer(family, replace(CONFIG, outer_steps=120))
    before = mean_loss(trainer.rule)
    for _ in trainer.train():
        pass
    assert trainer.skipped == 0
    assert mean_loss(trainer.result()) < 0.9 * before


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = tmp_path / "whole.safetensors"
    parts = tmp_path / "parts.safetensors"
    tasks = f"{__file__}:family"
    run_meta_training(whole, CONFIG, tasks=tasks)
    half = MetaTrainer(family, CONFIG)
    for _ in half.train():
        if half.step == 17:
            break
    half.save(parts, "test")
    run_meta_training(parts, CONFIG, tasks=tasks, resume=True)
    expected = load_rule(whole).state_dict()
    for name, tensor in load_rule(parts).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


class Broken(ModuleTask):
    """Its batches can be made to fail."""

    is_broken = False

    def batch(self, generator: torch.Generator) -> object:
        if Broken.is_broken:
            raise LookupError("scene 17")
        return super().batch(generator)


class BrokenRegressions(Regressions):
    """The same tasks, which fail while they are trained."""

    def sample(self, generator: torch.Generator) -> Task:
        whole = super().sample(generator)
        return Broken(whole.build, whole.loss_fn, whole.data, batch_size=16)


@pytest.mark.parametrize("estimator", [TruncatedBPTT(5), FullES(), PES(truncation=5)])
@pytest.mark.parametrize("step", [0, 3])  # new runs, and runs that have begun
def test_a_step_that_fails_while_a_run_is_trained_is_as_if_it_had_not_been(
    monkeypatch, estimator, step
):
    inner = replace(INNER, runs=2, max_horizon=10)
    config = replace(CONFIG, outer_steps=6, estimator=estimator, inner=inner)
    trainer, whole = MetaTrainer(BrokenRegressions(), config), MetaTrainer(family, config)
    steps = trainer.train()
    losses = [next(steps) for _ in range(step)]
    monkeypatch.setattr(Broken, "is_broken", True)
    with pytest.raises(LookupError, match="scene 17"):
        next(steps)
    monkeypatch.setattr(Broken, "is_broken", False)
    losses += trainer.train()
    assert losses == list(whole.train())


def test_resume_with_other_settings_is_an_error(tmp_path):
    path = tmp_path / "rule.safetensors"
    MetaTrainer(family, CONFIG).save(path, "test")
    changed = replace(CONFIG, outer=replace(OUTER, lr=1.0), estimator=TruncatedBPTT(6))
    message = r"other settings: estimator.TruncatedBPTT.truncation, outer.lr differ"
    with pytest.raises(ValueError, match=message):
        MetaTrainer(family, changed).resume(path)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        MetaTrainer(family, CONFIG).resume(tmp_path / "none.safetensors")


def test_a_run_of_another_rule_is_not_resumed(tmp_path):
    path = tmp_path / "rule.safetensors"
    MetaTrainer(family, CONFIG).save(path, "test")
    state = load_resume(path)
    for changes, named in (({"scaling": 0.0}, "scaling differ"), (None, "hidden, initial_lr, .*")):
        before = {} if changes is None else state["rule_config"] | changes
        save_resume(state | {"rule_config": before}, path)
        trainer = MetaTrainer(family, CONFIG)
        with pytest.raises(ValueError, match=f"a version whose rule was another: {named}"):
            trainer.resume(path)
        assert trainer.step == 0


def test_estimate_advances_the_run_and_resets_nothing_else():
    rule = NFNRule()
    run = InnerRun(family, rule, INNER, seed=3)
    theta = {n: p.detach().clone() for n, p in rule.named_parameters()}
    estimate = TruncatedBPTT(truncation=5).estimate(rule, run, MetaLoss())
    assert run.steps == 5
    assert set(estimate.grads) == set(theta)
    assert all(torch.equal(p, theta[n]) for n, p in rule.named_parameters())
    assert not any(p.requires_grad for p in run.params.values())


def test_run_is_over_at_its_horizon_or_when_it_diverges():
    rule = NFNRule()
    run = InnerRun(family, rule, replace(INNER, min_horizon=10, max_horizon=10), seed=3)
    estimator = TruncatedBPTT(truncation=8)
    estimator.estimate(rule, run, MetaLoss())
    assert not run.over
    estimator.estimate(rule, run, MetaLoss())
    assert run.steps == 10
    assert run.over
    wild = InnerRun(family, rule, INNER, seed=3)
    wild.advance(wild.params, wild.state, torch.tensor([[1.0], [float("nan")]]), floor=0.0)
    assert wild.over


class Huber(TaskFamily):
    def sample(self, generator):
        inputs = torch.randn(100, 3, generator=generator)
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, 2)),
            lambda outputs, targets: F.huber_loss(outputs, targets).sqrt(),
            (inputs, inputs[:, :2].sin()),
        )


def test_the_rule_remembers_the_longest_runs_that_it_has_seen(tmp_path):
    longer = replace(CONFIG, inner=replace(INNER, max_horizon=5_000))
    assert MetaTrainer(family, longer).result().config.limits == Limits(5_000.0)
    path = tmp_path / "rule.safetensors"
    MetaTrainer(family, longer).save(path, "test")
    for inner, horizon in ((INNER, 5_000.0), (replace(INNER, max_horizon=6_000), 6_000.0)):
        config = replace(CONFIG, inner=inner, rule=RuleConfig(init=str(path)))
        assert MetaTrainer(family, config).rule.config.limits.horizon == horizon


def test_the_rule_remembers_the_fans_that_it_is_told(tmp_path):
    path = tmp_path / "rule.safetensors"
    save_rule(NFNRule(NFNRuleConfig(limits=Limits(10.0, fan_in=300.0, fan_out=8.0))), path)
    told = RuleConfig(fan_in=128.0, fan_out=64.0)
    for rule, seen in ((told, (128.0, 64.0)), (replace(told, init=str(path)), (300.0, 64.0))):
        limits = MetaTrainer(family, replace(CONFIG, rule=rule)).rule.config.limits
        assert (limits.fan_in, limits.fan_out) == seen


def test_a_careful_rule_that_sees_longer_runs_remembers_two_of_them(tmp_path):
    path = tmp_path / "rule.safetensors"
    save_rule(NFNRule(NFNRuleConfig(careful=True, limits=Limits(10.0, 20.0))), path)
    longer = replace(INNER, max_horizon=5_000)
    config = replace(CONFIG, inner=longer, rule=RuleConfig(init=str(path)))
    assert MetaTrainer(family, config).rule.config.limits == Limits(5_000.0, 10_000.0)


def test_any_module_loss_and_data_are_a_task_in_under_ten_lines():
    assert len(inspect.getsource(Huber).splitlines()) < 10
    check_family(Huber())
    trainer = MetaTrainer(Huber(), replace(CONFIG, outer_steps=3))
    assert all(math.isfinite(loss) for loss in trainer.train())
    assert trainer.skipped == 0


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "RMSprop"])
def test_any_torch_optimizer_trains(optimizer: str) -> None:
    outer = replace(OUTER, optimizer=optimizer, weight_decay=0.5)
    config = replace(CONFIG, outer=outer, outer_steps=2)
    trainer = MetaTrainer(family, config)
    assert type(trainer.optimizer).__name__ == optimizer
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.5
    before = trainer.rule.write.entry.detach().clone()
    for _ in trainer.train():
        pass
    assert not torch.equal(trainer.rule.write.entry, before)


def test_every_run_is_clipped_before_averaging() -> None:
    inner = replace(INNER, runs=4, runs_per_step=4)
    config = replace(CONFIG, inner=inner, outer=replace(OUTER, clip=0.01))
    _, grads = MetaTrainer(family, config).estimate()
    singles = []
    trainer = MetaTrainer(family, config)
    for run in trainer.pool.take(0):
        estimate = trainer.estimator.estimate(trainer.rule, run, config.meta_loss)
        flat = torch.cat([g.flatten() for g in estimate.grads.values()])
        singles.append(flat * min(1.0, 0.01 / float(flat.norm())))
    flat = torch.cat([g.flatten() for g in grads.values()])
    torch.testing.assert_close(flat, torch.stack(singles).mean(0), rtol=1e-3, atol=1e-7)
    assert max(float(s.norm()) for s in singles) == pytest.approx(0.01, rel=1e-3)


def damage(run: InnerRun | None) -> None:
    """Leaves a run without any finite loss or gradient."""
    assert run is not None
    run.params["0.weight"][:] = float("nan")
    run.diverged = False


def test_a_run_without_finite_gradient_is_left_out() -> None:
    config = replace(CONFIG, inner=replace(INNER, runs=2, runs_per_step=2))
    trainer = MetaTrainer(family, config)
    damage(trainer.pool.runs[0])
    loss, grads = trainer.estimate()
    assert trainer.skipped == 1
    assert all(g.isfinite().all() for g in grads.values())
    assert any(g.abs().sum() > 0 for g in grads.values())
    second = MetaTrainer(family, config)
    run = second.pool.take(0)[1]
    assert loss == config.estimator.estimate(second.rule, run, config.meta_loss).loss


def test_training_goes_on_after_a_step_without_any_finite_gradient() -> None:
    trainer = MetaTrainer(family, CONFIG)
    before = {name: p.clone() for name, p in trainer.rule.state_dict().items()}
    damage(trainer.pool.runs[0])
    steps = trainer.train()
    assert math.isnan(next(steps))
    assert (trainer.skipped, trainer.step) == (1, 1)
    assert all(torch.equal(p, before[name]) for name, p in trainer.rule.state_dict().items())
    assert math.isfinite(next(steps))
