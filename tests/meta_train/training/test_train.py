"""A run from start to end: killed, interrupted, resumed, refused."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import MetaTrainer, TrainConfig
from meta_train.commands._main import main
from meta_train.commands._train import read_settings
from meta_train.tasks import ModuleTask, Task, TaskFamily
from meta_train.training._files import best_path
from meta_train.training._run import train
from nfn_optim import NFNRule, load_rule, read_card, save_rule


class Regressions(TaskFamily):
    """Small regressions; sends itself a signal when the given task is drawn."""

    calls = 0

    def sample(self, generator: torch.Generator) -> Task:
        self.calls += 1
        if str(self.calls) == os.environ.get("SIGNAL_AT"):
            signal.raise_signal(int(os.environ["SIGNAL"]))
        inputs = torch.randn(64, 4, generator=generator)
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
            F.mse_loss,
            (inputs, (inputs @ torch.randn(4, 2, generator=generator)).tanh()),
            batch_size=16,
        )


family = Regressions()
TASKS = f"{__file__}:family"
CONFIG = TrainConfig(
    outer_steps=30,
    truncation=4,
    min_horizon=6,
    max_horizon=12,
    runs=2,
    max_networks=2,
    hidden=4,
    warmup=5,
    ema=0.5,
    save_every=6,
    validate_every=10,
    validation_runs=2,
    validation_steps=5,
)
SIGNAL_AT = 20  # tasks drawn before the signal: those of the checks and of some outer steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run that nothing happens to."""
    path = tmp_path_factory.mktemp("whole") / "rule.safetensors"
    train(path, CONFIG, tasks=TASKS)
    return path


def assert_same_rule(first: Path, second: Path) -> None:
    expected = load_rule(second).state_dict()
    for name, tensor in load_rule(first).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def arguments(config: TrainConfig) -> list[str]:
    """The settings that differ from the default, as options."""
    default = asdict(TrainConfig())
    changed = {k: v for k, v in asdict(config).items() if v != default[k]}
    return [part for k, v in changed.items() for part in (f"--{k.replace('_', '-')}", str(v))]


def test_a_killed_run_resumes_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    command = [sys.executable, "-m", "meta_train", "train", "--out", str(out), "--tasks", TASKS]
    environment = {**os.environ, "SIGNAL": str(int(signal.SIGKILL)), "SIGNAL_AT": str(SIGNAL_AT)}
    run = subprocess.run([*command, *arguments(CONFIG)], env=environment, capture_output=True)
    assert run.returncode == -signal.SIGKILL
    done = read_card(out)["outer_steps"]
    assert done % CONFIG.save_every == 0
    assert 0 < done < CONFIG.outer_steps
    trainer = train(out, CONFIG, tasks=TASKS, resume=True)
    assert_same_rule(out, whole)
    assert_same_rule(best_path(out), best_path(whole))
    assert trainer.best == tuple(
        read_card(whole)["best_validation"][key] for key in ("meta_loss", "outer_step")
    )


def test_an_interrupted_run_loses_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rule.safetensors"
    monkeypatch.setenv("SIGNAL", str(int(signal.SIGINT)))
    monkeypatch.setenv("SIGNAL_AT", str(SIGNAL_AT))
    with pytest.raises(KeyboardInterrupt):
        train(out, CONFIG, tasks=TASKS)
    monkeypatch.delenv("SIGNAL_AT")
    assert 0 < read_card(out)["outer_steps"] < CONFIG.outer_steps
    assert read_card(out)["outer_steps"] % CONFIG.save_every
    train(out, CONFIG, tasks=TASKS, resume=True)
    assert_same_rule(out, whole)


def test_a_torn_write_leaves_the_last_checkpoint(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = MetaTrainer(family, CONFIG)
    out = tmp_path / "rule.safetensors"
    trainer.save(out, "test")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        trainer.save(out, "test")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_best_rule_and_card_are_kept(whole: Path) -> None:
    card = read_card(whole)
    best = card["best_validation"]
    assert read_card(best_path(whole))["outer_steps"] == best["outer_step"]
    assert best["outer_step"] % CONFIG.validate_every == 0
    assert card["config"]["seed"] == CONFIG.seed
    assert card["versions"]["torch"] == torch.__version__
    assert set(card["versions"]) >= {"nfn_optim", "python"}
    trainer = MetaTrainer(family, CONFIG)
    trainer.average = load_rule(best_path(whole)).state_dict()
    losses, _ = trainer.validate()
    assert float(losses.mean()) == pytest.approx(best["meta_loss"], abs=1e-6)


def test_validation_changes_nothing_in_training(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    train(out, replace(CONFIG, validate_every=0), tasks=TASKS)
    assert_same_rule(out, whole)
    assert not best_path(out).exists()


def test_second_phase_trains_only_what_is_named(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    names = ("schedule.bias", "write.network", "write.bias")
    config = replace(
        CONFIG, init=str(whole), parameters=names, estimator="full-es", pairs=2, outer_steps=3
    )
    trainer = train(out, config, tasks=TASKS)
    assert trainer.skipped == 0
    before, after = load_rule(whole).state_dict(), load_rule(out).state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == set(names)


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "RMSprop"])
def test_any_torch_optimizer_trains(optimizer: str) -> None:
    config = replace(CONFIG, optimizer=optimizer, weight_decay=0.5, outer_steps=2)
    trainer = MetaTrainer(family, config)
    assert type(trainer.optimizer).__name__ == optimizer
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.5
    before = trainer.rule.write.entry.detach().clone()
    for _ in trainer.train():
        pass
    assert not torch.equal(trainer.rule.write.entry, before)


def test_every_run_is_clipped_before_averaging() -> None:
    config = replace(CONFIG, runs=4, runs_per_step=4, clip=0.01)
    _, grads = MetaTrainer(family, config).estimate()
    singles = []
    trainer = MetaTrainer(family, config)
    for run in trainer.pool.take(0):
        estimate = trainer.estimator.estimate(trainer.rule, run)
        flat = torch.cat([g.flatten() for g in estimate.grads.values()])
        singles.append(flat * min(1.0, 0.01 / float(flat.norm())))
    flat = torch.cat([g.flatten() for g in grads.values()])
    torch.testing.assert_close(flat, torch.stack(singles).mean(0), rtol=1e-3, atol=1e-7)
    assert max(float(s.norm()) for s in singles) == pytest.approx(0.01, rel=1e-3)


def test_a_run_without_finite_gradient_is_left_out() -> None:
    trainer = MetaTrainer(family, replace(CONFIG, runs=2, runs_per_step=2))
    trainer.pool.runs[0].params["0.weight"][:] = float("nan")  # type: ignore[union-attr]
    _, grads = trainer.estimate()
    assert trainer.skipped == 1
    assert all(g.isfinite().all() for g in grads.values())
    assert any(g.abs().sum() > 0 for g in grads.values())
    for run in trainer.pool.runs:
        run.params["0.weight"][:] = float("nan")  # type: ignore[union-attr]
        run.diverged = False  # type: ignore[union-attr]
    assert trainer.estimate()[1] == {}


def test_settings_come_from_files_and_options_go_before_them(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("lr: 3e-3\nparameters: [schedule.bias]\nhidden: 8\nestimator: pes\n")
    config = read_settings(file)
    assert config == TrainConfig(lr=3e-3, parameters=("schedule.bias",), hidden=8, estimator="pes")
    same = tmp_path / "run.json"
    same.write_text(json.dumps(asdict(config)))
    assert read_settings(same) == config
    out, card = tmp_path / "rule.safetensors", tmp_path / "card.json"
    options = arguments(replace(CONFIG, hidden=16, validate_every=0, outer_steps=1))
    files = ["--out", str(out), "--settings", str(file), "--json", str(card)]
    main(["train", *files, "--tasks", TASKS, *options, "--lr", "0.5"])
    used = json.loads(card.read_text())["config"]
    assert used["lr"] == 0.5
    assert (used["hidden"], used["estimator"]) == (8, "pes")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.yaml", "rate: 1", r"unknown settings: \['rate'\]"),
        ("run.yaml", "hidden: many", "hidden must be int; got 'many'"),
        ("run.yaml", "lr: [1]", "lr must be float"),
        ("run.yaml", "- 1", "not a mapping"),
        ("run.yaml", "a: [", "is no YAML"),
        ("run.json", "{", "is no JSON"),
        ("run.yaml", "lr: -1", "lr must be positive"),
    ],
)
def test_unusable_settings_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_settings(tmp_path / name)


def test_a_dry_run_checks_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "rule.safetensors"
    main(["train", "--out", str(out), "--tasks", TASKS, *arguments(CONFIG), "--dry-run"])
    assert "Everything is in place" in capsys.readouterr().out
    assert list(out.parent.iterdir()) == []


class Broken(TaskFamily):
    """Tasks with one thing wrong."""

    def __init__(self, what: str) -> None:
        self.what = what

    def sample(self, generator: torch.Generator) -> Task:
        return BrokenTask(self.what)


class BrokenTask(ModuleTask):
    def __init__(self, what: str) -> None:
        self.what = what
        data = torch.ones(8, 3), torch.ones(8, 2)
        super().__init__(lambda: nn.Linear(3, 2), F.mse_loss, data, batch_size=4)

    def init(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        params = super().init(generator)
        if self.what == "init":
            params["weight"] = torch.randn(2, 3)
        return params

    def batch(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        if self.what == "batch":
            return torch.randn(4, 3), torch.ones(4, 2)
        return super().batch(generator)

    def loss(
        self, params: dict[str, torch.Tensor], batch: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        loss = super().loss(params, batch)
        losses = {
            "scalar": loss.expand(4),
            "finite": loss * float("nan"),
            "negative": loss - 1e6,
            "constant": torch.tensor(1.0),
        }
        return losses.get(self.what, loss)


no_init, no_batch, no_scalar = Broken("init"), Broken("batch"), Broken("scalar")
no_finite, no_positive, no_constant = Broken("finite"), Broken("negative"), Broken("constant")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_init", "initial parameters differ between generators of one seed"),
        ("no_batch", "batches differ between generators of one seed"),
        ("no_scalar", r"one scalar for one network; got shape \(4,\)"),
        ("no_finite", "loss is nan at the start"),
        ("no_positive", "loss is negative"),
        ("no_constant", "does not depend on the parameters"),
    ],
)
def test_unusable_tasks_are_refused_before_the_run(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "rule.safetensors", CONFIG, tasks=f"{__file__}:{name}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator": "magic"}, "no estimator 'magic'. Choose one of bptt, full-es, pes, nres"),
        ({"optimizer": "Adamant"}, "torch.optim has no 'Adamant'"),
        ({"optimizer": "LBFGS"}, "LBFGS cannot be the outer optimizer"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"parameters": ("read.*", "nothing.*")}, "'nothing.*' names no meta-parameter"),
        ({"init": "/none.safetensors"}, "no checkpoint"),
        ({"runs": 2, "runs_per_step": 3}, "runs_per_step (3) must not exceed runs"),
        ({"pairs": 0}, "pairs must be at least 1"),
        ({"ema": 1.0}, "ema must be in"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
    ],
)
def test_unusable_settings_are_refused_before_the_run(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        MetaTrainer(family, replace(CONFIG, **change))  # type: ignore[arg-type]


def test_a_run_is_not_resumed_on_another_family(tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    MetaTrainer(family, CONFIG).save(out, "test")
    with pytest.raises(ValueError, match="trains other networks than this family"):
        MetaTrainer(Broken("nothing"), CONFIG).resume(out)
    (tmp_path / "rule.safetensors.resume").write_bytes(b"torn")
    with pytest.raises(ValueError, match="is damaged"):
        MetaTrainer(family, CONFIG).resume(out)


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        train(tmp_path, CONFIG, tasks=TASKS)
    save_rule(NFNRule(), tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        train(tmp_path / "file" / "rule.safetensors", CONFIG, tasks=TASKS)


@pytest.mark.gpu
def test_a_run_on_a_gpu_resumes_bit_for_bit(tmp_path: Path) -> None:
    config = replace(CONFIG, device="cuda", outer_steps=4)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train(whole, config, tasks=TASKS)
    trainer = MetaTrainer(family, config)
    next(trainer.train())
    assert trainer.rule.schedule.bias.is_cuda
    trainer.save(parts, "test")
    train(parts, config, tasks=TASKS, resume=True)
    assert_same_rule(parts, whole)


def test_a_run_of_an_older_version_resumes(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    trainer = MetaTrainer(family, replace(CONFIG, validate_every=0))
    for _ in trainer.train():
        if trainer.step == 13:
            break
    trainer.save(out, "test")
    path = out.with_name(out.name + ".resume")
    state = torch.load(path)
    for setting in ("estimator", "init", "parameters", "optimizer", "device", "runs_per_step"):
        del state["config"][setting]
    for run in state["runs"]:
        for key in ("particles", "noise", "noise_generator"):
            del run[key]
    del state["progress"]["best"]
    torch.save(state, path)
    train(out, replace(CONFIG, validate_every=0), tasks=TASKS, resume=True)
    assert_same_rule(out, whole)
