"""A run from start to end: killed, interrupted, resumed, refused."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from meta_train import (
    FullES,
    InnerConfig,
    MetaTrainer,
    OuterConfig,
    RuleConfig,
    RunConfig,
    TruncatedBPTT,
    ValidationConfig,
)
from meta_train.inner import Processes
from meta_train.support import Interrupted, notes_of
from meta_train.tasks import ModuleTask, Task, TaskFamily, default_family
from meta_train.training._checkpoints import Checkpoints
from meta_train.training._files import best_path, journal_path, resume_path
from meta_train.training._journal import read_journal
from meta_train.training._run import run_meta_training
from meta_train.training._settings import to_plain
from nfn_optim import NFNRule, load_rule, read_card, save_rule


class Regressions(TaskFamily):
    """Small regressions; sends itself a signal, or raises, when the given task is drawn."""

    calls = 0

    def sample(self, generator: torch.Generator) -> Task:
        self.calls += 1
        if str(self.calls) == os.environ.get("SIGNAL_AT"):
            signal.raise_signal(int(os.environ["SIGNAL"]))
        if str(self.calls) == os.environ.get("RAISE_AT"):
            raise KeyError("scene 17")
        inputs = torch.randn(64, 4, generator=generator)
        return ModuleTask(
            lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)),
            F.mse_loss,
            (inputs, (inputs @ torch.randn(4, 2, generator=generator)).tanh()),
            batch_size=16,
        )


family = Regressions()
TASKS = f"{__file__}:family"
INNER = InnerConfig(runs=2, min_horizon=6, max_horizon=12, max_networks=2)
OUTER = OuterConfig(warmup=5, ema=0.5)
CONFIG = RunConfig(
    outer_steps=30,
    save_every=6,
    inner=INNER,
    estimator=TruncatedBPTT(truncation=4),
    rule=RuleConfig(hidden=4),
    outer=OUTER,
    validation=ValidationConfig(every=10, runs=2, steps=5),
)
UNVALIDATED = replace(CONFIG, validation=ValidationConfig())
SIGNAL_AT = 24  # tasks drawn before the signal: those of the checks and of some outer steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run that nothing happens to."""
    path = tmp_path_factory.mktemp("whole") / "rule.safetensors"
    run_meta_training(path, CONFIG, tasks=TASKS)
    return path


def assert_same_rule(first: Path, second: Path) -> None:
    expected = load_rule(second).state_dict()
    for name, tensor in load_rule(first).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def settings_file(folder: Path, config: RunConfig) -> str:
    """A new file of these settings."""
    file = folder / "settings.json"
    file.write_text(json.dumps(to_plain(config)))
    return str(file)


def test_a_killed_run_resumes_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    command = [sys.executable, "-m", "meta_train", "train", "--out", str(out), "--tasks", TASKS]
    environment = {**os.environ, "SIGNAL": str(int(signal.SIGKILL)), "SIGNAL_AT": str(SIGNAL_AT)}
    command += ["--settings", settings_file(tmp_path, CONFIG)]
    run = subprocess.run(command, env=environment, capture_output=True)
    assert run.returncode == -signal.SIGKILL
    done = read_card(out)["outer_steps"]
    assert done % CONFIG.save_every == 0
    assert 0 < done < CONFIG.outer_steps
    trainer = run_meta_training(out, CONFIG, tasks=TASKS, resume=True)
    assert_same_rule(out, whole)
    assert_same_rule(best_path(out), best_path(whole))
    assert trainer.best == tuple(
        read_card(whole)["best_validation"][key] for key in ("meta_loss", "outer_step")
    )


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that is not ignored, as nohup has it."""
    before = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, before)


def test_an_interrupted_run_loses_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    out = tmp_path / "rule.safetensors"
    monkeypatch.setenv("SIGNAL", str(int(number)))
    monkeypatch.setenv("SIGNAL_AT", str(SIGNAL_AT))
    with pytest.raises(Interrupted) as caught:
        run_meta_training(out, CONFIG, tasks=TASKS)
    assert caught.value.signal == number
    monkeypatch.delenv("SIGNAL_AT")
    done = read_card(out)["outer_steps"]
    assert 0 < done < CONFIG.outer_steps
    assert done % CONFIG.save_every
    (note,) = notes_of(caught.value)
    assert note.startswith(f"Outer step {done} of {CONFIG.outer_steps} is saved in {out}.")
    assert "--resume" in note
    run_meta_training(out, CONFIG, tasks=TASKS, resume=True)
    assert_same_rule(out, whole)


def test_an_interrupted_validation_is_made_up_for(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rule.safetensors"
    monkeypatch.setattr(MetaTrainer, "validate", interrupted_at(10, MetaTrainer.validate))
    with pytest.raises(Interrupted):
        run_meta_training(out, CONFIG, tasks=TASKS)
    assert read_card(out)["outer_steps"] == 10
    assert read_card(out)["best_validation"]["outer_step"] == 0
    monkeypatch.undo()
    run_meta_training(out, CONFIG, tasks=TASKS, resume=True)
    assert_same_rule(best_path(out), best_path(whole))
    assert read_card(out)["best_validation"] == read_card(whole)["best_validation"]


def interrupted_at(step: int, validate: Callable[..., Any]) -> Callable[..., Any]:
    """A meta-validation during which a signal comes after an outer step: before its last run."""

    def validate_but(trainer: MetaTrainer, is_ended: Callable[[], bool]) -> object:
        runs = 0

        def look() -> bool:
            nonlocal runs
            runs += 1
            if (trainer.step, runs) == (step, CONFIG.validation.runs):
                signal.raise_signal(signal.SIGTERM)
            return is_ended()

        return validate(trainer, look)

    return validate_but


def test_what_a_family_raises_costs_no_finished_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "rule.safetensors"
    monkeypatch.setenv("RAISE_AT", str(SIGNAL_AT))
    with pytest.raises(KeyError) as caught:
        run_meta_training(out, CONFIG, tasks=TASKS)
    monkeypatch.delenv("RAISE_AT")
    done = read_card(out)["outer_steps"]
    assert done % CONFIG.save_every
    assert f"Outer step {done} of 30 is saved" in notes_of(caught.value)[0]
    run_meta_training(out, CONFIG, tasks=TASKS, resume=True)
    assert_same_rule(out, whole)


@pytest.mark.parametrize("kept", [str, resume_path, best_path], ids=["rule", "resume", "best"])
def test_a_run_does_not_start_over_unless_told(
    tmp_path: Path, kept: Callable[[Path], str | Path]
) -> None:
    out = tmp_path / "rule.safetensors"
    Path(kept(out)).write_text("precious")
    with pytest.raises(ValueError, match=r"exists. Go on .* --resume, start over by --overwrite"):
        run_meta_training(out, UNVALIDATED, tasks=TASKS)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]
    with pytest.raises(ValueError, match="Leave one of them out"):
        run_meta_training(out, UNVALIDATED, tasks=TASKS, resume=True, overwrite=True)
    few = replace(UNVALIDATED, outer_steps=2)
    run_meta_training(out, few, tasks=TASKS, overwrite=True)
    assert read_card(out)["outer_steps"] == 2
    assert not best_path(out).exists()


def test_a_finished_run_is_extended_and_not_shortened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rule.safetensors"
    run_meta_training(out, replace(UNVALIDATED, outer_steps=3), tasks=TASKS)
    more = replace(UNVALIDATED, outer_steps=5, save_every=1)
    run_meta_training(out, more, tasks=TASKS, resume=True)
    assert read_card(out)["outer_steps"] == 5
    assert [e["outer_step"] for e in read_journal(journal_path(out))] == [1, 2, 3, 4, 5]
    capsys.readouterr()
    run_meta_training(out, more, tasks=TASKS, resume=True)
    assert "all 5 outer steps are taken" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"has taken 5 outer steps already, more than .* \(4\)"):
        run_meta_training(out, replace(more, outer_steps=4), tasks=TASKS, resume=True)
    with pytest.raises(ValueError, match="seed differ"):
        run_meta_training(out, replace(more, seed=1), tasks=TASKS, resume=True)


def test_the_journal_has_every_step_and_validation_once(whole: Path) -> None:
    entries = read_journal(journal_path(whole))
    steps = [e["outer_step"] for e in entries if "meta_loss" in e]
    assert steps == list(range(1, CONFIG.outer_steps + 1))
    validations = [e for e in entries if "validation" in e]
    assert [e["outer_step"] for e in validations][-3:] == [10, 20, 30]
    assert len(validations[-1]["validation"]["runs"]) == CONFIG.validation.runs


def full_disk(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Lets no file move into a folder."""
    move = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(target).parent == folder:
            raise OSError(errno.ENOSPC, "no space left")
        move(source, target)

    monkeypatch.setattr(os, "replace", fail)


def test_a_full_disk_in_the_middle_ends_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, save, steps = tmp_path / "rule.safetensors", MetaTrainer.save, []

    def until_there_is_space(self: MetaTrainer, path: Path, command: str) -> None:
        steps.append(self.step)
        with monkeypatch.context() as patch:
            if self.step < 18:
                full_disk(patch, tmp_path)
            save(self, path, command)

    monkeypatch.setattr(MetaTrainer, "save", until_there_is_space)
    run_meta_training(out, CONFIG, tasks=TASKS)
    assert steps == [6, 12, 18, 24, 30]
    assert "cannot be written at outer step 12: no space left. Training goes on" in (
        " ".join(capsys.readouterr().err.split())
    )
    assert_same_rule(out, whole)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_best_result_that_found_no_space_is_written_with_the_next_checkpoint(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save_best = tmp_path / "rule.safetensors", Checkpoints.save_best

    def without_space(self: Checkpoints) -> None:
        with monkeypatch.context() as patch:
            full_disk(patch, tmp_path)
            save_best(self)

    monkeypatch.setattr(Checkpoints, "save_best", without_space)
    run_meta_training(out, CONFIG, tasks=TASKS)
    assert_same_rule(best_path(out), best_path(whole))


def test_a_full_disk_at_the_end_costs_no_step(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, elsewhere = tmp_path / "out" / "rule.safetensors", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    with monkeypatch.context() as patch:
        full_disk(patch, out.parent)
        with pytest.raises(OSError, match="no space left") as caught:
            run_meta_training(out, UNVALIDATED, tasks=TASKS)
    (place,) = elsewhere.iterdir()
    assert_same_rule(place / out.name, whole)
    assert resume_path(place / out.name).exists()
    assert f"Move the files in {place} to {out.parent}/." in notes_of(caught.value)[0]
    assert [path.name for path in out.parent.iterdir()] == ["rule.jsonl"]


def test_the_card_names_the_family_as_it_is_imported(whole: Path) -> None:
    assert read_card(whole)["family"] == TASKS
    assert read_card(whole)["validation_family"] == TASKS


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
    assert best["outer_step"] % CONFIG.validation.every == 0
    assert card["config"]["seed"] == CONFIG.seed
    assert card["versions"]["torch"] == torch.__version__
    assert set(card["versions"]) >= {"nfn_optim", "python"}
    trainer = MetaTrainer(family, CONFIG)
    trainer.average = load_rule(best_path(whole)).state_dict()
    validated = trainer.validate()
    assert validated is not None
    losses, _ = validated
    assert float(losses.mean()) == pytest.approx(best["meta_loss"], abs=1e-6)


def test_validation_changes_nothing_in_training(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    run_meta_training(out, UNVALIDATED, tasks=TASKS)
    assert_same_rule(out, whole)
    assert not best_path(out).exists()


def test_the_first_validation_is_that_of_the_start(whole: Path) -> None:
    best = read_card(whole)["best_validation"]
    trainer = MetaTrainer(family, CONFIG)
    validated = trainer.validate()
    assert validated is not None
    assert float(validated[0].mean()) == best["start"] == trainer.reference
    assert best["meta_loss"] <= best["start"]


@pytest.mark.parametrize(
    ("every", "outer_steps", "steps"),
    [(0, 4, []), (2, 5, [0, 2, 4, 5]), (4, 4, [0, 4]), (5, 4, [])],
)
def test_validations_are_regular(every: int, outer_steps: int, steps: list[int]) -> None:
    config = ValidationConfig(every=every)
    assert [k for k in range(outer_steps + 1) if config.is_due(k, outer_steps)] == steps


def test_second_phase_trains_only_what_is_named(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    names = ("schedule.bias", "write.network", "write.bias")
    config = replace(
        CONFIG,
        rule=RuleConfig(init=str(whole), parameters=names),
        estimator=FullES(pairs=2),
        outer_steps=3,
    )
    trainer = run_meta_training(out, config, tasks=TASKS)
    assert trainer.skipped == 0
    before, after = load_rule(whole).state_dict(), load_rule(out).state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == set(names)


def test_a_run_is_not_resumed_on_another_family(tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    saved = MetaTrainer(family, CONFIG)
    saved.step = 2
    saved.save(out, "test")
    other = MetaTrainer(default_family, CONFIG)
    runs = list(other.pool.runs)
    with pytest.raises(ValueError, match="trains other networks than this family"):
        other.resume(out)
    assert other.step == 0
    assert other.pool.runs == runs
    (tmp_path / "rule.safetensors.resume").write_bytes(b"torn")
    with pytest.raises(ValueError, match="is damaged"):
        MetaTrainer(family, CONFIG).resume(out)


def test_what_another_process_could_not_write_is_not_saved(tmp_path: Path) -> None:
    class WithAFullDisk(Processes):
        def any(self, flag: bool) -> bool:
            return True

    trainer = MetaTrainer(family, CONFIG, processes=WithAFullDisk())
    checkpoints = Checkpoints(trainer, tmp_path / "rule.safetensors", print)
    trainer.step = 2
    checkpoints.save()
    assert checkpoints.saved == 0


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        run_meta_training(tmp_path, CONFIG, tasks=TASKS)
    save_rule(NFNRule(), tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        run_meta_training(tmp_path / "file" / "rule.safetensors", CONFIG, tasks=TASKS)


@pytest.mark.gpu
def test_a_run_on_a_gpu_resumes_bit_for_bit(tmp_path: Path) -> None:
    config = replace(CONFIG, device="cuda", outer_steps=4)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    run_meta_training(whole, config, tasks=TASKS)
    trainer = MetaTrainer(family, config)
    next(trainer.train())
    assert trainer.rule.schedule.bias.is_cuda
    trainer.save(parts, "test")
    run_meta_training(parts, config, tasks=TASKS, resume=True)
    assert_same_rule(parts, whole)


def test_a_run_of_a_version_with_flat_settings_is_not_resumed(tmp_path: Path) -> None:
    out = tmp_path / "rule.safetensors"
    MetaTrainer(family, CONFIG).save(out, "test")
    path = out.with_name(out.name + ".resume")
    state = torch.load(path)
    state["config"] = {"seed": 0, "truncation": 4, "estimator": "bptt"}
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"rule.safetensors.resume was written by a version with"):
        MetaTrainer(family, CONFIG).resume(out)
