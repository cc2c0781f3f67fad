import inspect
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import MetaTrainer, TruncatedBPTT, unroll
from meta_train.inner._config import TrainConfig
from meta_train.inner._run import InnerRun
from meta_train.tasks import ModuleTask, Task, TaskFamily, stack
from meta_train.training._family_source import load_family
from meta_train.training._preflight import check_family
from meta_train.training._run import train
from nfn_optim import NFNRule, load_rule


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
CONFIG = TrainConfig(
    outer_steps=40,
    truncation=5,
    min_horizon=10,
    max_horizon=40,
    runs=3,
    max_networks=2,
    hidden=4,
    lr=3e-3,
    warmup=5,
    ema=0.5,
    save_every=10,
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
    assert mean_loss(trainer.result()) < 0.8 * before


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = tmp_path / "whole.safetensors"
    parts = tmp_path / "parts.safetensors"
    tasks = f"{__file__}:family"
    train(whole, CONFIG, tasks=tasks)
    half = MetaTrainer(family, CONFIG)
    for _ in half.train():
        if half.step == 17:
            break
    half.save(parts, "test")
    train(parts, CONFIG, tasks=tasks, resume=True)
    expected = load_rule(whole).state_dict()
    for name, tensor in load_rule(parts).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_resume_with_other_settings_is_an_error(tmp_path):
    path = tmp_path / "rule.safetensors"
    MetaTrainer(family, CONFIG).save(path, "test")
    with pytest.raises(ValueError, match=r"started with other settings: \['lr'\] differ"):
        MetaTrainer(family, replace(CONFIG, lr=1.0)).resume(path)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        MetaTrainer(family, CONFIG).resume(tmp_path / "none.safetensors")


def test_estimate_advances_the_run_and_resets_nothing_else():
    rule = NFNRule()
    run = InnerRun(family, rule, CONFIG, seed=3)
    theta = {n: p.detach().clone() for n, p in rule.named_parameters()}
    estimate = TruncatedBPTT(truncation=5).estimate(rule, run)
    assert run.steps == 5
    assert set(estimate.grads) == set(theta)
    assert all(torch.equal(p, theta[n]) for n, p in rule.named_parameters())
    assert not any(p.requires_grad for p in run.params.values())


def test_run_is_over_at_its_horizon_or_when_it_diverges():
    rule = NFNRule()
    run = InnerRun(family, rule, replace(CONFIG, min_horizon=10, max_horizon=10), seed=3)
    estimator = TruncatedBPTT(truncation=8)
    estimator.estimate(rule, run)
    assert not run.over
    estimator.estimate(rule, run)
    assert run.steps == 10
    assert run.over
    wild = InnerRun(family, rule, CONFIG, seed=3)
    wild.advance(wild.params, wild.state, torch.tensor([[1.0], [float("nan")]]))
    assert wild.over


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("family", "lacks a name"),
        ("no_such_module:family", "cannot import 'no_such_module'"),
        ("none.py:family", "no Python file 'none.py'"),
        (f"{__file__}:CONFIG", "not an instance of"),
        (f"{__file__}:missing", "not an instance of"),
    ],
)
def test_unusable_families_are_named(tasks, message):
    with pytest.raises(ValueError, match=message):
        load_family(tasks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outer_steps": 0}, "outer_steps must be at least 1; got 0"),
        ({"max_horizon": 5}, "max_horizon .5. must not be below min_horizon"),
        ({"lr": 0.0}, "lr must be positive"),
    ],
)
def test_settings_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


class Own(TaskFamily):
    def sample(self, generator):
        inputs = torch.randn(100, 3, generator=generator)
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, 2)),
            lambda outputs, targets: F.huber_loss(outputs, targets).sqrt(),
            (inputs, inputs[:, :2].sin()),
        )


def test_any_module_loss_and_data_are_a_task_in_under_ten_lines():
    assert len(inspect.getsource(Own).splitlines()) < 10
    check_family(Own())
    trainer = MetaTrainer(Own(), replace(CONFIG, outer_steps=3))
    assert all(math.isfinite(loss) for loss in trainer.train())
    assert trainer.skipped == 0
